"""A package of somebody else: a neuron, a surrogate, an encoder and a decoder that sb3_spiking knows nothing of."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from spikingjelly.activation_based import neuron as sj
from spikingjelly.activation_based import surrogate as sj_surrogate

from sb3_spiking.snn import PopulationEncoder
from sb3_spiking.snn.decoders import Statistic
from sb3_spiking.snn.elementwise import absolute, where
from sb3_spiking.snn.encoders import Encoder
from sb3_spiking.snn.neurons import Neuron
from sb3_spiking.snn.neurons.equations import Reset, State
from sb3_spiking.snn.signal import Signal
from sb3_spiking.snn.surrogates import Surrogate


class RefractoryNode(sj.SimpleBaseNode):
    """Hears nothing for some steps after a spike."""

    r: Any

    def __init__(self, v_decay: float, steps: float, **kwargs: Any) -> None:
        super().__init__(v_reset=0.0, step_mode="m", **kwargs)
        self.v_decay, self.steps = v_decay, steps
        self.register_memory("r", 0.0)

    def neuronal_charge(self, x: th.Tensor) -> None:
        if isinstance(self.r, float):
            self.r = th.zeros_like(x)
        self.v = self.v * self.v_decay + th.where(self.r > 0, 0.0, x)

    def neuronal_reset(self, spike: th.Tensor) -> None:
        super().neuronal_reset(spike)
        rested = th.where(self.r > 0, self.r - 1.0, self.r)
        self.r = th.where(spike.detach() > 0, self.steps, rested)


def reset(state: State, spike: Any, threshold: Any, constants: State) -> State:
    v, r = state
    _, steps, zero, one = constants
    return v - spike * v, where(spike > zero, steps, rested(r, zero, one))


def rested(r: Any, zero: Any, one: Any) -> Any:
    return where(r > zero, r - one, r)


def reset_backward(gradient: State, state: State, spike: Any, threshold: Any, constants: State) -> tuple[State, Any]:
    dv, dr = gradient
    return (dv - spike * dv, dr), -(dv * state[0])


@dataclass(frozen=True)
class Refractory(Neuron):
    membrane_decay: float = 0.5
    steps: int = 2
    name: ClassVar[str] = "refractory"
    node = RefractoryNode
    resets = {"own": Reset(reset, reset_backward)}  # noqa: RUF012
    variables = 2
    kept = 2
    reset_variables = 2

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        return RefractoryNode(
            self.membrane_decay,
            float(self.steps),
            v_threshold=self.threshold,
            surrogate_function=surrogate.build(),
        )

    @staticmethod
    def constants_of(node: Any) -> tuple[float, ...]:
        return node.v_decay, node.steps, 0.0, 1.0

    @staticmethod
    def reset_of(node: Any) -> str:
        return "own"

    @staticmethod
    def charge(state: State, x: Any, constants: State) -> State:
        v, r = state
        return v * constants[0] + where(r > constants[2], constants[2], x), r

    @staticmethod
    def charge_backward(gradient: State, before: State, constants: State) -> tuple[Any, State]:
        dv, dr = gradient
        return where(before[1] > constants[2], constants[2], dv), (dv * constants[0], dr)


class LaplaceFunction(sj_surrogate.SurrogateFunctionBase):
    """Two-sided exponential."""

    def __init__(self, alpha: float = 2.0, spiking: bool = True) -> None:
        super().__init__(spiking, alpha=alpha)

    @staticmethod
    def spiking_function(x: th.Tensor, alpha: float) -> th.Tensor:
        return _Laplace.apply(x, alpha)

    @staticmethod
    def primitive_function(x: th.Tensor, alpha: float) -> th.Tensor:
        return 0.5 + 0.5 * x.sign() * (1.0 - (-alpha * x.abs()).exp())


class _Laplace(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: th.Tensor, alpha: float) -> th.Tensor:
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * (0.5 * ctx.alpha * (-ctx.alpha * x.abs()).exp()), None


@dataclass(frozen=True)
class Laplace(Surrogate):
    slope: float = 2.0
    name: ClassVar[str] = "laplace"

    def build(self) -> sj_surrogate.SurrogateFunctionBase:
        return LaplaceFunction(alpha=self.slope)


@dataclass(frozen=True)
class Twice(Statistic):
    name: ClassVar[str] = "twice"

    def step_weights(self, time_steps: int) -> tuple[list[float], float]:
        return [2.0] * time_steps, float(time_steps)


class HalfEncoder(PopulationEncoder):
    """Half of the activity, as a constant current."""

    def encode(self, activity: th.Tensor) -> Signal:
        return Signal(0.5 * activity[None], self.time_steps)


def not_a_neuron() -> float:
    return absolute(-1.0)


class ForgetfulNode(RefractoryNode):
    """A type of its own for the next neuron."""


@dataclass(frozen=True)
class Forgetful(Refractory):
    """Spikes change two variables, and it says one."""

    name: ClassVar[str] = "forgetful"
    node = ForgetfulNode
    reset_variables = 1
    charge = staticmethod(Refractory.charge)

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        return ForgetfulNode(0.5, 2.0, v_threshold=self.threshold, surrogate_function=surrogate.build())


class SteepFunction(LaplaceFunction):
    """A type of its own for the next surrogate."""


@dataclass(frozen=True)
class Steep(Laplace):
    """Its derivative is not that of its function."""

    name: ClassVar[str] = "steep"
    function = SteepFunction

    def build(self) -> sj_surrogate.SurrogateFunctionBase:
        return SteepFunction(alpha=self.slope)

    @staticmethod
    def constants(alpha: float) -> tuple[float, ...]:
        return (2.0 * alpha,)

    @staticmethod
    def derivative(margin: Any, constants: State) -> Any:
        return constants[0] - margin * margin


class PlainEncoder(Encoder):
    """Returns spikes as a tensor, and counts its exponentials."""

    exponentials = 3

    def __init__(self, obs_dim: int, time_steps: int) -> None:
        super().__init__()
        self.features, self.time_steps = obs_dim, time_steps

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return (observations > 0).to(observations).expand(self.time_steps, *observations.shape).contiguous()
