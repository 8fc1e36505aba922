"""Current-based leaky integrate-and-fire, the neuron of PopSAN."""

from dataclasses import dataclass
from typing import Any, ClassVar

from spikingjelly.activation_based import neuron as sj

from sb3_spiking.arguments import decay
from sb3_spiking.snn.neurons.base import ResettingNeuron
from sb3_spiking.snn.neurons.equations import State
from sb3_spiking.snn.surrogates import Surrogate


@dataclass(frozen=True)
class CubaLif(ResettingNeuron):
    """
    Current-based leaky integrate-and-fire, the neuron of PopSAN (Tang et al., 2020)::

        c_t = current_decay c_{t-1} + x_t
        h_t = membrane_decay v_{t-1} + c_t

    :param threshold: firing threshold, > 0
    :param reset: ``"hard"`` (to 0) or ``"soft"`` (subtraction)
    :param current_decay: share of the current kept per step, in [0, 1)
    :param membrane_decay: share of the membrane kept per step, in [0, 1)
    """

    current_decay: float = 0.5
    membrane_decay: float = 0.75
    name: ClassVar[str] = "cuba_lif"
    node = sj.CUBALIFNode
    variables = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        decay("neuron current_decay", self.current_decay)
        decay("neuron membrane_decay", self.membrane_decay)

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        node = sj.CUBALIFNode(c_decay=float(self.current_decay), v_decay=float(self.membrane_decay))
        return self._finished(node, surrogate)

    @staticmethod
    def constants_of(node: Any) -> tuple[float, ...]:
        return node.c_decay, node.v_decay

    @staticmethod
    def charge(state: State, x: Any, constants: State) -> State:
        v, c = state
        current_decay, membrane_decay = constants
        c = c * current_decay + x
        return v * membrane_decay + c, c

    @staticmethod
    def charge_backward(gradient: State, before: State, constants: State) -> tuple[Any, State]:
        dv, dc = gradient
        current_decay, membrane_decay = constants
        dx = dv + dc
        return dx, (dv * membrane_decay, dx * current_decay)
