"""
Spiking neurons by name, and how a layer of them runs over the time steps of one decision.

Every neuron charges, fires and resets once per step, from a membrane and a current of zero::

    h_t = charge(v_{t-1}, x_t)                    pre-spike membrane
    s_t = 1 if h_t >= threshold else 0
    v_t = h_t (1 - s_t)                           reset "hard"
    v_t = h_t - threshold s_t                     reset "soft"

The neurons are SpikingJelly's own nodes (a second-order one, which it lacks, is built on its base class), so that its
monitors, counters and exporters apply. Where a fused kernel knows the node's equations it runs them in one pass; the
spikes are the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch as th
from spikingjelly.activation_based import neuron as sj
from spikingjelly.activation_based.surrogate import SurrogateFunctionBase
from torch import nn

from sb3_spiking.arguments import choice, decay, finite_float, positive_float
from sb3_spiking.snn import kernels
from sb3_spiking.snn.kernels import unrolled
from sb3_spiking.snn.nodes import DynamicNode
from sb3_spiking.snn.surrogates import Surrogate, plain_spikes
from sb3_spiking.snn.watching import is_watched, operations_are_traced

Reset = Literal["hard", "soft"]
RESETS: dict[str, float | None] = {"hard": 0.0, "soft": None}


@dataclass(frozen=True)
class _Neuron:
    """What all the neurons have: a threshold > 0 and a reset, ``"hard"`` (to 0) or ``"soft"`` (subtraction)."""

    threshold: float = 0.5
    reset: Reset = "hard"

    def __post_init__(self) -> None:
        positive_float("neuron threshold", self.threshold)
        choice("neuron reset", self.reset, RESETS)

    def _build(self, node: sj.BaseNode, surrogate: Surrogate) -> sj.BaseNode:
        node.v_threshold = float(self.threshold)
        node.v_reset = RESETS[self.reset]
        node.surrogate_function = surrogate.build()
        node.step_mode = "m"
        return node


@dataclass(frozen=True)
class CubaLif(_Neuron):
    """
    Current-based leaky integrate-and-fire, the neuron of PopSAN (Tang et al., 2020)::

        c_t = current_decay c_{t-1} + x_t
        h_t = membrane_decay v_{t-1} + c_t

    :param current_decay: share of the current kept per step, in [0, 1)
    :param membrane_decay: share of the membrane kept per step, in [0, 1)
    """

    current_decay: float = 0.5
    membrane_decay: float = 0.75
    name: ClassVar[str] = "cuba_lif"

    def __post_init__(self) -> None:
        super().__post_init__()
        decay("neuron current_decay", self.current_decay)
        decay("neuron membrane_decay", self.membrane_decay)

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        node = sj.CUBALIFNode(c_decay=float(self.current_decay), v_decay=float(self.membrane_decay))
        return self._build(node, surrogate)


@dataclass(frozen=True)
class Lif(_Neuron):
    """
    Leaky integrate-and-fire, ``h_t = membrane_decay v_{t-1} + x_t`` (the LIF actor of Xu et al., 2025).

    :param membrane_decay: share of the membrane kept per step, in (0, 1)
    """

    membrane_decay: float = 0.75
    name: ClassVar[str] = "lif"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_float("neuron membrane_decay", decay("neuron membrane_decay", self.membrane_decay))

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        tau = 1.0 / (1.0 - self.membrane_decay)
        return self._build(sj.LIFNode(tau=tau, decay_input=False), surrogate)


@dataclass(frozen=True)
class ParametricLif(Lif):
    """
    Leaky integrate-and-fire whose decay is learnt, one per layer (Fang et al., 2021)::

        h_t = (1 - sigmoid(w)) v_{t-1} + x_t

    :param membrane_decay: decay at initialisation, in (0, 1)
    """

    name: ClassVar[str] = "plif"

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        tau = 1.0 / (1.0 - self.membrane_decay)
        return self._build(sj.ParametricLIFNode(init_tau=tau, decay_input=False), surrogate)


@dataclass(frozen=True)
class IntegrateAndFire(_Neuron):
    """Integrate-and-fire without leak, ``h_t = v_{t-1} + x_t``."""

    name: ClassVar[str] = "if"

    def build(self, surrogate: Surrogate) -> sj.BaseNode:
        return self._build(sj.IFNode(), surrogate)


@dataclass(frozen=True)
class Dynamic:
    """
    Second-order neuron: the membrane drives a resistance item that drives it back (MDC-SAN, Zhang et al., 2022)::

        c_t = current_decay c_{t-1} + x_t
        h_t = v_{t-1}^2 - u_{t-1} + c_t
        u'  = u_{t-1} + theta_v h_t - theta_u u_{t-1}
        v_t = theta_r if the neuron fires, else h_t
        u_t = u' + theta_s if the neuron fires, else u'

    The defaults are the published cluster centre. The code of Xu et al. (2025) has the other sign before ``theta_u``.

    :param threshold: > 0
    :param current_decay: share of the current kept per step, in [0, 1)
    :param theta_v: pull of the membrane on the resistance item
    :param theta_u: decay of the resistance item
    :param theta_r: membrane after a spike
    :param theta_s: what a spike adds to the resistance item
    """

    threshold: float = 0.5
    current_decay: float = 0.5
    theta_v: float = -0.172
    theta_u: float = 0.529
    theta_r: float = 0.021
    theta_s: float = 0.132
    name: ClassVar[str] = "dynamic"

    def __post_init__(self) -> None:
        positive_float("neuron threshold", self.threshold)
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


Neuron = CubaLif | Lif | ParametricLif | IntegrateAndFire | Dynamic

NEURONS: dict[str, type[Neuron]] = {cls.name: cls for cls in (CubaLif, Lif, ParametricLif, IntegrateAndFire, Dynamic)}


def fire(
    node: sj.BaseNode,
    current: th.Tensor,
    time_steps: int | None = None,
    feedback: Callable[[th.Tensor], th.Tensor] | None = None,
) -> th.Tensor:
    """
    Run a layer of neurons over all the time steps, from rest to rest.

    A node that is being watched (it has forward hooks: SpikingJelly's monitors) runs itself; else its fused kernel
    runs, where there is one. While torch's operations are traced, compiled or transformed its equations run as plain
    operations. In every case no state is left in the node.

    :param node: a multi-step SpikingJelly node
    :param current: input current, ``[T, N, ...]``, or ``[1, N, ...]`` where it is the same at each step
    :param time_steps: ``T``; None: as many as the current has
    :param feedback: current that the spikes of a step add to the next step, ``[N, ...]`` to ``[N, ...]``
    :return: spikes, 0 or 1, ``[T, N, ...]``
    """
    equations = None if feedback is not None else fused_equations(node, current)
    if equations is not None:
        return kernels.fire(equations, current, time_steps)
    if time_steps is not None and len(current) != time_steps:
        current = current.expand(time_steps, *[-1] * (current.dim() - 1))
    if operations_are_traced():
        return _run_plainly(node, current, feedback)
    return _run_itself(node, current, feedback)


def _run_plainly(node: sj.BaseNode, current: th.Tensor, feedback: Callable[[th.Tensor], th.Tensor] | None) -> th.Tensor:
    """Run by plain operations, which every tracer, compiler and transform understands."""
    surrogate = node._modules.get("surrogate_function")
    if not isinstance(surrogate, SurrogateFunctionBase) or not surrogate.spiking:
        return _run_itself(node, current, feedback)
    equations = None if _is_observed(node) else kernels.read(node)
    if equations is not None:
        return unrolled.fire(equations, current, equations.leak, partial(plain_spikes, surrogate), feedback)
    with _firing_by(node, partial(plain_spikes, surrogate)):
        return _run_itself(node, current, feedback)


def _run_itself(
    node: sj.BaseNode, current: th.Tensor, feedback: Callable[[th.Tensor], th.Tensor] | None = None
) -> th.Tensor:
    """Let a node run itself, from rest to rest."""
    node.reset()
    try:
        if feedback is None:
            return node(current)
        spikes = [node(current[:1])[0]]
        for step in current[1:]:
            spikes.append(node((step + feedback(spikes[-1]))[None])[0])
        return th.stack(spikes)
    finally:
        node.reset()


def fused_equations(node: sj.BaseNode, inputs: th.Tensor) -> kernels.Equations | None:
    """
    Return what the fused kernels need to run a node.

    :param node: a multi-step SpikingJelly node
    :param inputs: its input current, or what this is computed from
    :return: its equations, or None where the node must run itself
    """
    return None if _is_observed(node) else kernels.equations_of(node, inputs)


def _is_observed(node: sj.BaseNode) -> bool:
    return is_watched(node) or any(map(is_watched, node._modules.values()))


@th.no_grad()
def record(
    node: sj.BaseNode, current: th.Tensor, feedback: Callable[[th.Tensor], th.Tensor] | None = None
) -> tuple[th.Tensor, th.Tensor | None]:
    """
    Run a layer like [`fire`][sb3_spiking.snn.neurons.fire] and return its margins too, for plots and monitors.

    The node runs itself. What its surrogate is given is the margin, whatever the node's equations are.

    :param node: a multi-step SpikingJelly node
    :param current: input current, ``[T, N, ...]``, on any device
    :param feedback: current that the spikes of a step add to the next step, ``[N, ...]`` to ``[N, ...]``
    :return: spikes, and membranes before the reset minus threshold, of the same shape, on the CPU and without a graph,
        half precision as float32; no margins of a node that does not ask its surrogate once per step
    """
    surrogate = getattr(node, "surrogate_function", None)
    if surrogate is None:
        return _readable(_run_itself(node, current, feedback)), None
    margins: list[th.Tensor] = []

    def witness(margin: th.Tensor) -> th.Tensor:
        margins.append(margin)
        return surrogate(margin)

    with _firing_by(node, witness):
        spikes = _readable(_run_itself(node, current, feedback))
    if sum(margin.numel() for margin in margins) != spikes.numel():
        return spikes, None
    return spikes, _readable(th.stack(margins)).reshape(spikes.shape)


def _readable(values: th.Tensor) -> th.Tensor:
    values = values.detach().cpu()
    return values if values.dtype in (th.float32, th.float64) else values.float()


class _StandIn(nn.Module):
    """
    Fires in the place of a surrogate.

    :param surrogate: whose place it takes
    :param fire: membrane minus threshold to spikes
    """

    def __init__(self, surrogate: Callable[[th.Tensor], th.Tensor], fire: Callable[[th.Tensor], th.Tensor]) -> None:
        super().__init__()
        self.__dict__["surrogate"] = surrogate
        self.forward = fire

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["surrogate"], name)


@contextmanager
def _firing_by(node: sj.BaseNode, fire: Callable[[th.Tensor], th.Tensor]) -> Iterator[None]:
    """
    Let a node fire by another function for a while.

    A hook on its surrogate would not do: SpikingJelly has fused loops for some surrogates and does not call them.
    """
    # A surrogate may be a module or, as an attribute, any function.
    owner = node._modules if "surrogate_function" in node._modules else node.__dict__
    surrogate = owner["surrogate_function"]
    owner["surrogate_function"] = _StandIn(surrogate, fire)
    try:
        yield
    finally:
        owner["surrogate_function"] = surrogate
