"""Leaky integrate-and-fire with a learnt leak."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from spikingjelly.activation_based import neuron as sj

from sb3_spiking.snn.neurons.equations import State
from sb3_spiking.snn.neurons.lif import Lif
from sb3_spiking.snn.surrogates import Surrogate


@dataclass(frozen=True)
class ParametricLif(Lif):
    """
    Leaky integrate-and-fire with a learnt leak, one per layer (Fang et al., 2021)::

        h_t = v_{t-1} - sigmoid(w) v_{t-1} + x_t

    :param threshold: firing threshold, > 0
    :param reset: ``"hard"`` (to 0) or ``"soft"`` (subtraction)
    :param membrane_decay: share of the membrane kept per step at initialisation, in (0, 1)
    """

    name: ClassVar[str] = "plif"
    node = sj.ParametricLIFNode

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        return self._finished(sj.ParametricLIFNode(init_tau=self._tau, decay_input=False), surrogate)

    @staticmethod
    def constants_of(node: Any) -> tuple[float, ...] | None:
        return None if node.decay_input else ()

    @staticmethod
    def learnt_of(node: Any) -> th.Tensor:
        leak: th.Tensor = node.w.sigmoid()
        return leak

    @staticmethod
    def charge(state: State, x: Any, constants: State) -> State:
        (v,) = state
        (leak,) = constants
        return (v - v * leak + x,)

    @staticmethod
    def charge_backward(gradient: State, before: State, constants: State) -> tuple[Any, State]:
        (dv,) = gradient
        (leak,) = constants
        return dv, (dv - dv * leak,)

    @staticmethod
    def learnt_backward(gradient: State, before: State, constants: State) -> Any:
        return -(gradient[0] * before[0])
