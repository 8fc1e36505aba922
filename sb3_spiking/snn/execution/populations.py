"""Execution and recording of populations of neurons, from rest to rest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch as th
from spikingjelly.activation_based.neuron import BaseNode
from torch import nn

from sb3_spiking.snn.execution.backends import backend_of
from sb3_spiking.snn.execution.choose import Way, choose_neurons
from sb3_spiking.snn.surrogates import plain_spikes

Feedback = Callable[[th.Tensor], th.Tensor]
"""Spikes of a step, ``[N, ...]``, to the current that they add to the next step."""


def run_neurons(
    node: BaseNode, current: th.Tensor, time_steps: int | None = None, feedback: Feedback | None = None
) -> th.Tensor:
    """
    Run a population of neurons over all the time steps, from rest to rest.

    No state is left in the node.

    :param node: multi-step SpikingJelly node
    :param current: input current, ``[T, N, ...]``, or ``[1, N, ...]`` where it is the same at each step
    :param time_steps: number of steps ``T``; None for those of the current
    :param feedback: current that the spikes of a step add to the next step, ``[N, ...]`` to ``[N, ...]``
    :return: spikes, 0 or 1, ``[T, N, ...]``
    """
    time_steps = len(current) if time_steps is None else time_steps
    execution = choose_neurons(node, current, feedback)
    if execution.way is Way.NEURONS:
        from sb3_spiking.snn.execution import autograd

        return autograd.run_population(execution.dynamics, current, time_steps)
    if len(current) != time_steps:
        current = current.expand(time_steps, *[-1] * (current.dim() - 1))
    if execution.way is Way.NODE:
        return run_node(node, current, feedback)
    spike_function = partial(plain_spikes, node._modules["surrogate_function"])
    if execution.dynamics is None:
        with _firing_by(node, spike_function):
            return run_node(node, current, feedback)
    from sb3_spiking.snn.execution import double_backward

    return double_backward.run(execution.dynamics, current, spike_function, feedback)


def run_node(node: BaseNode, current: th.Tensor, feedback: Feedback | None = None) -> th.Tensor:
    """Run a node itself, from rest to rest."""
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


@th.no_grad()
def record_neurons(
    node: BaseNode, current: th.Tensor, feedback: Feedback | None = None
) -> tuple[th.Tensor, th.Tensor | None]:
    """
    Run a population like [`run_neurons`][sb3_spiking.snn.execution.populations.run_neurons], with its margins.

    The node runs itself; the argument of its surrogate is the margin, for any equations.

    :param node: multi-step SpikingJelly node
    :param current: input current, ``[T, N, ...]``, on any device
    :param feedback: current that the spikes of a step add to the next step, ``[N, ...]`` to ``[N, ...]``
    :return: spikes and margins (membranes before the reset minus threshold), of the same shape, on the CPU, without a
        graph, half precision as float32; no margins of a node that does not call its surrogate once per step
    """
    surrogate = getattr(node, "surrogate_function", None)
    if surrogate is None:
        return _readable(run_node(node, current, feedback)), None
    margins: list[th.Tensor] = []

    def witness(margin: th.Tensor) -> th.Tensor:
        margins.append(margin)
        return surrogate(margin)

    with _firing_by(node, witness):
        spikes = _readable(run_node(node, current, feedback))
    if sum(margin.numel() for margin in margins) != spikes.numel():
        return spikes, None
    return spikes, _readable(th.stack(margins)).reshape(spikes.shape)


def _readable(values: th.Tensor) -> th.Tensor:
    values = values.detach().cpu()
    return values if values.dtype in (th.float32, th.float64) else values.float()


class _StandIn(nn.Module):
    """
    Function in place of a surrogate, with the attributes of the surrogate.

    :param surrogate: surrogate
    :param fire: function of the margin that returns spikes
    """

    def __init__(self, surrogate: Callable[[th.Tensor], th.Tensor], fire: Callable[[th.Tensor], th.Tensor]) -> None:
        super().__init__()
        self.__dict__["surrogate"] = surrogate
        self.forward = fire

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["surrogate"], name)


@contextmanager
def _firing_by(node: BaseNode, fire: Callable[[th.Tensor], th.Tensor]) -> Iterator[None]:
    """
    Replace the surrogate of a node within a context.

    A hook on the surrogate is not enough: SpikingJelly has fused loops for some surrogates and does not call them.
    """
    # A surrogate is a module or, as an attribute, any function.
    owner = node._modules if "surrogate_function" in node._modules else node.__dict__
    surrogate = owner["surrogate_function"]
    owner["surrogate_function"] = _StandIn(surrogate, fire)
    try:
        yield
    finally:
        owner["surrogate_function"] = surrogate


def regular_spikes(activity: th.Tensor, time_steps: int, threshold: float, initial: float = 0.0) -> th.Tensor:
    """
    Return the regular spike trains of soft-reset integrators for constant activities.

    :param activity: input current of each step, ``[N, features]``, supported by the kernels
    :param time_steps: number of steps ``T``
    :param threshold: firing threshold, subtracted at each spike
    :param initial: membrane before the first step
    :return: spikes, 0 or 1, ``[T, N, features]``; not differentiable
    """
    activity = activity.detach().contiguous()
    spikes = activity.new_empty((time_steps, *activity.shape))
    backend_of(activity).regular_spikes(activity, spikes, threshold, initial)
    return spikes
