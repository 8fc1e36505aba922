"""What the kernels know of a neuron: plain numbers, read off a SpikingJelly node."""

from enum import IntEnum
from typing import NamedTuple

import torch as th


class Charge(IntEnum):
    """How the membrane charges, in SpikingJelly's order of operations (which decides the last bit)."""

    CUBA = 0
    """``c <- c first + x; h = v second + c``"""
    LEAK = 1
    """``h = v - v / first + x``"""
    LEARNT_LEAK = 2
    """``h = v - v leak + x``, with a gradient for ``leak``"""
    INTEGRATE = 3
    """``h = v + x``"""


class SurrogateShape(IntEnum):
    """Which bump stands in for the spike's derivative; SpikingJelly's formulas, with its ``alpha``."""

    RECT = 0
    TRIANGLE = 1
    ATAN = 2
    SIGMOID = 3


class Equations(NamedTuple):
    """
    A neuron: charge, fire at ``h >= threshold``, reset.

    :param charge: the charging equation
    :param threshold: firing threshold
    :param soft_reset: subtract the threshold (True) or set the membrane to 0 (False) after a spike
    :param detach_reset: keep the gradient out of the reset
    :param surrogate: shape of the surrogate gradient
    :param alpha: its steepness
    :param first: the charge's first constant, see [`Charge`][sb3_spiking.snn.kernels.equations.Charge]
    :param second: the charge's second constant
    :param leak: scalar tensor, the learnt leak per step
    """

    charge: Charge
    threshold: float
    soft_reset: bool
    detach_reset: bool
    surrogate: SurrogateShape
    alpha: float
    first: float = 0.0
    second: float = 0.0
    leak: th.Tensor | None = None
