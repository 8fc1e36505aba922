"""Leaky integrate-and-fire."""

from dataclasses import dataclass
from typing import Any, ClassVar

from spikingjelly.activation_based import neuron as sj

from sb3_spiking.arguments import decay, positive_float
from sb3_spiking.snn.elementwise import divide
from sb3_spiking.snn.neurons.base import ResettingNeuron
from sb3_spiking.snn.neurons.equations import State
from sb3_spiking.snn.surrogates import Surrogate


@dataclass(frozen=True)
class Lif(ResettingNeuron):
    """
    Leaky integrate-and-fire, ``h_t = membrane_decay v_{t-1} + x_t`` (the LIF actor of Xu et al., 2025).

    It is computed like SpikingJelly's, ``v - v / tau + x`` with ``tau = 1 / (1 - membrane_decay)``: another order of
    operations changes the last bit, and thus spikes at the threshold.

    :param threshold: firing threshold, > 0
    :param reset: ``"hard"`` (to 0) or ``"soft"`` (subtraction)
    :param membrane_decay: share of the membrane kept per step, in (0, 1)
    """

    membrane_decay: float = 0.75
    name: ClassVar[str] = "lif"
    node = sj.LIFNode

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_float("neuron membrane_decay", decay("neuron membrane_decay", self.membrane_decay))

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        return self._finished(sj.LIFNode(tau=self._tau, decay_input=False), surrogate)

    @property
    def _tau(self) -> float:
        return 1.0 / (1.0 - self.membrane_decay)

    @staticmethod
    def constants_of(node: Any) -> tuple[float, ...] | None:
        return None if node.decay_input else (node.tau,)

    @staticmethod
    def charge(state: State, x: Any, constants: State) -> State:
        (v,) = state
        (tau,) = constants
        return (v - divide(v, tau) + x,)

    @staticmethod
    def charge_backward(gradient: State, before: State, constants: State) -> tuple[Any, State]:
        (dv,) = gradient
        (tau,) = constants
        return dv, (dv - dv / tau,)
