"""Integrate-and-fire without leak."""

from dataclasses import dataclass
from typing import Any, ClassVar

from spikingjelly.activation_based import neuron as sj

from sb3_spiking.snn.neurons.base import ResettingNeuron
from sb3_spiking.snn.neurons.equations import State
from sb3_spiking.snn.surrogates import Surrogate


@dataclass(frozen=True)
class IntegrateAndFire(ResettingNeuron):
    """
    Integrate-and-fire without leak, ``h_t = v_{t-1} + x_t``.

    :param threshold: firing threshold, > 0
    :param reset: ``"hard"`` (to 0) or ``"soft"`` (subtraction)
    """

    name: ClassVar[str] = "if"
    node = sj.IFNode

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        return self._finished(sj.IFNode(), surrogate)

    @staticmethod
    def charge(state: State, x: Any, constants: State) -> State:
        return (state[0] + x,)

    @staticmethod
    def charge_backward(gradient: State, before: State, constants: State) -> tuple[Any, State]:
        return gradient[0], gradient
