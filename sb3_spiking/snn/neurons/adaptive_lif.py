"""Leaky integrate-and-fire with an adaptive threshold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from spikingjelly.activation_based import neuron as sj

from sb3_spiking.arguments import decay, finite_float
from sb3_spiking.snn.neurons.base import RESETS, ResettingNeuron
from sb3_spiking.snn.neurons.equations import Reset, State
from sb3_spiking.snn.surrogates import Surrogate


class AdaptiveLifNode(sj.SimpleBaseNode):
    """
    Node with an adaptive threshold, with the equations of [`AdaptiveLif`][sb3_spiking.snn.neurons.AdaptiveLif].

    Its memories are the membrane ``v`` and the rise of the threshold ``a``, both 0 at rest.

    :param v_decay: share of the membrane kept per step
    :param a_decay: share of the threshold's rise kept per step
    :param a_step: rise of the threshold after a spike
    :param kwargs: arguments of SpikingJelly's ``SimpleBaseNode``
    """

    a: Any
    v: Any

    def __init__(self, v_decay: float, a_decay: float, a_step: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.v_decay, self.a_decay, self.a_step = v_decay, a_decay, a_step
        self.register_memory("a", 0.0)

    def neuronal_charge(self, x: th.Tensor) -> None:
        self.v = self.v * self.v_decay + x

    def neuronal_fire(self) -> th.Tensor:
        spike: th.Tensor = self.surrogate_function(self.v - self.v_threshold - self.a)
        return spike

    def neuronal_reset(self, spike: th.Tensor) -> None:
        spike = spike.detach() if self.detach_reset else spike
        if self.v_reset is None:
            self.v = self.v - spike * (self.v_threshold + self.a)
        else:
            self.v = (1.0 - spike) * self.v + spike * self.v_reset
        self.a = self.a * self.a_decay + spike * self.a_step


def _hard(state: State, spike: Any, threshold: Any, constants: State) -> State:
    v, a = state
    return v - spike * v, a * constants[1] + spike * constants[2]


def _hard_backward(gradient: State, state: State, spike: Any, threshold: Any, constants: State) -> tuple[State, Any]:
    dv, da = gradient
    return (dv - spike * dv, da * constants[1]), da * constants[2] - dv * state[0]


def _soft(state: State, spike: Any, threshold: Any, constants: State) -> State:
    v, a = state
    return v - spike * (threshold + a), a * constants[1] + spike * constants[2]


def _soft_backward(gradient: State, state: State, spike: Any, threshold: Any, constants: State) -> tuple[State, Any]:
    dv, da = gradient
    return (dv, da * constants[1] - dv * spike), da * constants[2] - dv * (threshold + state[1])


@dataclass(frozen=True)
class AdaptiveLif(ResettingNeuron):
    """
    Leaky integrate-and-fire with a threshold that rises with each spike and decays (ALIF; Bellec et al., 2018)::

        h_t = membrane_decay v_{t-1} + x_t
        s_t = 1 if h_t >= threshold + a_{t-1} else 0
        a_t = adaptation_decay a_{t-1} + adaptation_step s_t
        v_t = h_t (1 - s_t)                                       reset "hard"
        v_t = h_t - (threshold + a_{t-1}) s_t                     reset "soft"

    :param threshold: firing threshold at rest, > 0
    :param reset: ``"hard"`` (to 0) or ``"soft"`` (subtraction of the threshold, its rise included)
    :param membrane_decay: share of the membrane kept per step, in [0, 1)
    :param adaptation_decay: share of the threshold's rise kept per step, in [0, 1)
    :param adaptation_step: rise of the threshold after a spike, >= 0
    """

    membrane_decay: float = 0.75
    adaptation_decay: float = 0.9
    adaptation_step: float = 0.1
    name: ClassVar[str] = "alif"
    node = AdaptiveLifNode
    resets: ClassVar[Mapping[str, Reset]] = {"hard": Reset(_hard, _hard_backward), "soft": Reset(_soft, _soft_backward)}
    variables = 2
    kept = 2
    reset_variables = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        decay("neuron membrane_decay", self.membrane_decay)
        decay("neuron adaptation_decay", self.adaptation_decay)
        if finite_float("neuron adaptation_step", self.adaptation_step) < 0.0:
            raise ValueError(f"neuron adaptation_step={self.adaptation_step!r} must be >= 0")

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        constants = map(float, (self.membrane_decay, self.adaptation_decay, self.adaptation_step))
        return self._finished(AdaptiveLifNode(*constants, v_reset=RESETS[self.reset]), surrogate)

    @staticmethod
    def constants_of(node: Any) -> tuple[float, ...]:
        return node.v_decay, node.a_decay, node.a_step

    @staticmethod
    def charge(state: State, x: Any, constants: State) -> State:
        v, a = state
        return v * constants[0] + x, a

    @staticmethod
    def charge_backward(gradient: State, before: State, constants: State) -> tuple[Any, State]:
        dv, da = gradient
        return dv, (dv * constants[0], da)

    @staticmethod
    def margin(state: State, threshold: Any, constants: State) -> Any:
        return state[0] - threshold - state[1]

    @staticmethod
    def margin_backward(gradient: State, margin_gradient: Any, constants: State) -> State:
        dv, da = gradient
        return dv + margin_gradient, da - margin_gradient
