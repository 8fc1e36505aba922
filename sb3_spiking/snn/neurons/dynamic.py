"""Second-order neuron with a resistance item."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from spikingjelly.activation_based import neuron as sj

from sb3_spiking.arguments import decay, finite_float
from sb3_spiking.snn.neurons.base import Neuron
from sb3_spiking.snn.neurons.equations import Reset, State
from sb3_spiking.snn.surrogates import Surrogate


class DynamicNode(sj.SimpleBaseNode):
    """
    Second-order node, with the equations of [`Dynamic`][sb3_spiking.snn.neurons.Dynamic].

    Its memories are the current ``c``, the resistance item ``u`` and the membrane ``v``, all 0 at rest.

    :param c_decay: share of the current kept per step
    :param theta_v: pull of the membrane on the resistance item
    :param theta_u: decay of the resistance item
    :param theta_r: membrane after a spike
    :param theta_s: rise of the resistance item after a spike
    :param kwargs: arguments of SpikingJelly's ``SimpleBaseNode``
    """

    c: Any
    u: Any
    v: Any

    def __init__(
        self, c_decay: float, theta_v: float, theta_u: float, theta_r: float, theta_s: float, **kwargs: Any
    ) -> None:
        super().__init__(v_reset=theta_r, **kwargs)
        self.c_decay, self.theta_v, self.theta_u, self.theta_s = c_decay, theta_v, theta_u, theta_s
        self.register_memory("c", 0.0)
        self.register_memory("u", 0.0)

    def neuronal_charge(self, x: th.Tensor) -> None:
        self.c = self.c * self.c_decay + x
        self.v = self.v * self.v - self.u + self.c
        self.u = self.u + (self.v * self.theta_v - self.u * self.theta_u)

    def neuronal_reset(self, spike: th.Tensor) -> None:
        super().neuronal_reset(spike)
        self.u = self.u + (spike.detach() if self.detach_reset else spike) * self.theta_s


def _reset(state: State, spike: Any, threshold: Any, constants: State) -> State:
    v, u, c = state
    return (v - spike * v) + spike * constants[3], u + spike * constants[4], c


def _reset_backward(gradient: State, state: State, spike: Any, threshold: Any, constants: State) -> tuple[State, Any]:
    dv, du, dc = gradient
    return (dv - spike * dv, du, dc), dv * (constants[3] - state[0]) + du * constants[4]


@dataclass(frozen=True)
class Dynamic(Neuron):
    """
    Second-order neuron: membrane and resistance item act on each other (MDC-SAN, Zhang et al., 2022)::

        c_t = current_decay c_{t-1} + x_t
        h_t = v_{t-1}^2 - u_{t-1} + c_t
        u'  = u_{t-1} + theta_v h_t - theta_u u_{t-1}
        v_t = theta_r if the neuron fires, else h_t
        u_t = u' + theta_s if the neuron fires, else u'

    The defaults are the published cluster centre. The code of Xu et al. (2025) has the other sign before ``theta_u``.

    :param threshold: firing threshold, > 0
    :param current_decay: share of the current kept per step, in [0, 1)
    :param theta_v: pull of the membrane on the resistance item
    :param theta_u: decay of the resistance item
    :param theta_r: membrane after a spike
    :param theta_s: rise of the resistance item after a spike
    """

    current_decay: float = 0.5
    theta_v: float = -0.172
    theta_u: float = 0.529
    theta_r: float = 0.021
    theta_s: float = 0.132
    name: ClassVar[str] = "dynamic"
    node = DynamicNode
    resets: ClassVar[Mapping[str, Reset]] = {"own": Reset(_reset, _reset_backward)}
    variables = 3
    reset_variables = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        decay("neuron current_decay", self.current_decay)
        for constant in ("theta_v", "theta_u", "theta_r", "theta_s"):
            finite_float(f"neuron {constant}", getattr(self, constant))

    def build(self, surrogate: Surrogate) -> DynamicNode:
        node = DynamicNode(
            float(self.current_decay),
            float(self.theta_v),
            float(self.theta_u),
            float(self.theta_r),
            float(self.theta_s),
            v_threshold=float(self.threshold),
            surrogate_function=surrogate.build(),
        )
        node.step_mode = "m"
        return node

    @staticmethod
    def constants_of(node: Any) -> tuple[float, ...]:
        return node.c_decay, node.theta_v, node.theta_u, node.v_reset, node.theta_s

    @staticmethod
    def reset_of(node: Any) -> str | None:
        return None if node.v_reset is None else "own"

    @staticmethod
    def charge(state: State, x: Any, constants: State) -> State:
        v, u, c = state
        current_decay, theta_v, theta_u, _, _ = constants
        c = c * current_decay + x
        v = v * v - u + c
        return v, u + (v * theta_v - u * theta_u), c

    @staticmethod
    def charge_backward(gradient: State, before: State, constants: State) -> tuple[Any, State]:
        dv, du, dc = gradient
        current_decay, theta_v, theta_u, _, _ = constants
        dv = dv + du * theta_v
        dx = dc + dv
        return dx, (dv * (before[0] + before[0]), du - du * theta_u - dv, dx * current_decay)
