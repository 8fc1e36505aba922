"""What the kernels know of a neuron: plain numbers, read off a SpikingJelly node."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import torch as th

CONSTANTS = 5


class Charge(IntEnum):
    """How the membrane charges, in SpikingJelly's order of operations (which decides the last bit)."""

    CUBA = 0
    """``c <- c k0 + x; h = v k1 + c``"""
    LEAK = 1
    """``h = v - v / k0 + x``"""
    LEARNT_LEAK = 2
    """``h = v - v leak + x``, with a gradient for ``leak``"""
    INTEGRATE = 3
    """``h = v + x``"""
    DYNAMIC = 4
    """``c <- c k0 + x; h = v v - u + c; u <- u + (h k1 - u k2)``, after a spike ``v = k3; u <- u + k4``"""


class SurrogateShape(IntEnum):
    """Which bump stands in for the spike's derivative; SpikingJelly's formulas, with its ``alpha``."""

    RECT = 0
    TRIANGLE = 1
    ATAN = 2
    SIGMOID = 3


class Equations(NamedTuple):
    """
    A neuron: charge, fire at ``h >= threshold``, reset.

    :ivar charge: the charging equation
    :ivar threshold: firing threshold
    :ivar soft_reset: subtract the threshold (True) or set the membrane to 0 (False) after a spike
    :ivar detach_reset: keep the gradient out of the reset
    :ivar surrogate: shape of the surrogate gradient
    :ivar alpha: its steepness
    :ivar constants: ``k0, k1, ...`` of the charge, see [`Charge`][sb3_spiking.snn.kernels.equations.Charge]
    :ivar leak: scalar tensor, the learnt leak per step
    """

    charge: Charge
    threshold: float
    soft_reset: bool
    detach_reset: bool
    surrogate: SurrogateShape
    alpha: float
    constants: tuple[float, ...] = ()
    leak: th.Tensor | None = None


class Gradients(NamedTuple):
    """
    What neurons pass on in the backward pass.

    :ivar current: gradient of the current, ``[T, N, ...]``, empty where it was not wanted
    :ivar constant: gradient of a current that is constant over the steps, ``[N, ...]``
    :ivar leak: gradient of the learnt leak, None where there is none
    """

    current: th.Tensor
    constant: th.Tensor
    leak: th.Tensor | None


def charge_constants(constants: Sequence[float], leak: th.Tensor | None) -> list[float]:
    """
    Return the constants as the kernels take them.

    :param constants: ``k0, k1, ...``
    :param leak: scalar tensor, the learnt leak, which is ``k0`` where there is one
    :return: five numbers, padded with 0
    """
    given = list(constants) if leak is None else [leak.item()]
    return given + [0.0] * (CONSTANTS - len(given))
