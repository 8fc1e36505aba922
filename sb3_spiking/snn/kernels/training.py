"""
A layer of neurons that learns: what autograd sees of the kernels.

``cpu`` and ``gpu`` run the same equations, each for its device. Only the pre-spike membranes are kept for the backward
pass. A backward pass that is itself to be differentiated runs as a loop of torch operations (``unrolled``).
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch as th

from sb3_spiking.snn.kernels import cpu, products, unrolled
from sb3_spiking.snn.kernels.equations import Equations


def _kernels_for(tensor: th.Tensor) -> ModuleType:
    """Return what runs neurons where a tensor lies: ``forward``, ``backward``, ``regular_spikes``."""
    if tensor.device.type == "cpu":
        return cpu
    from sb3_spiking.snn.kernels import gpu  # imports Triton

    return gpu


def _differentiable_gradients(
    spikes: th.Tensor, inputs: Sequence[th.Tensor | None], grad_spikes: th.Tensor
) -> list[th.Tensor | None]:
    """Return the gradients with a graph of their own; ``once_differentiable`` would drop it without a word."""
    learnt = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    gradients = iter(th.autograd.grad(spikes, learnt, grad_spikes, create_graph=True))
    return [next(gradients) if tensor is not None and tensor.requires_grad else None for tensor in inputs]


class _Fire(th.autograd.Function):
    """Spikes of a layer from rest, with the surrogate gradient through time."""

    @staticmethod
    def forward(
        ctx: Any, current: th.Tensor, leak: th.Tensor | None, equations: Equations, time_steps: int
    ) -> th.Tensor:
        spikes, membrane = simulate(equations, current, time_steps)
        # A tensor with a graph in ctx would leak; saved tensors do not.
        ctx.equations = equations._replace(leak=None)
        ctx.save_for_backward(membrane, current, leak)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor | None, ...]:
        membrane, current, leak = ctx.saved_tensors
        if th.is_grad_enabled():
            spikes = unrolled.fire(ctx.equations, current.expand_as(membrane), leak)
            return (*_differentiable_gradients(spikes, (current, leak), grad_spikes), None, None)
        constant = len(current) < len(membrane)
        equations = ctx.equations._replace(leak=leak)
        gradients = _kernels_for(membrane).backward(equations, membrane, grad_spikes, constant)
        return gradients.constant[None] if constant else gradients.current, gradients.leak, None, None


class _Connected(th.autograd.Function):
    """The same of a fully connected layer: its current becomes its membranes, in place."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: th.Tensor,
        activity: th.Tensor | None,
        weight: th.Tensor,
        bias: th.Tensor,
        leak: th.Tensor | None,
        equations: Equations,
        dtype: th.dtype | None,
    ) -> th.Tensor:
        membrane, ctx.few_spikes = products.product(inputs, weight, dtype)
        spikes = th.empty_like(membrane)
        _kernels_for(membrane).forward(equations, membrane, spikes, membrane, bias.detach())
        ctx.equations, ctx.dtype = equations._replace(leak=None), dtype
        ctx.save_for_backward(membrane, inputs, activity, weight, bias, leak)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor | None, ...]:
        membrane, inputs, activity, weight, bias, leak = ctx.saved_tensors
        if th.is_grad_enabled():
            # The straight-through gradient, as a sum of spikes and of an activity that is worth nothing.
            given = inputs if activity is None else inputs + (activity - activity.detach())
            current = products.differentiable_product(given, weight, ctx.dtype) + bias
            spikes = unrolled.fire(ctx.equations, current, leak)
            learnt = (inputs, activity, weight, bias, leak)
            return (*_differentiable_gradients(spikes, learnt, grad_spikes), None, None)
        equations = ctx.equations._replace(leak=leak)
        gradients = _kernels_for(membrane).backward(equations, membrane, grad_spikes)
        wanted, dtype = ctx.needs_input_grad, ctx.dtype
        return (
            products.multiply(gradients.current, weight, dtype) if wanted[0] else None,
            products.multiply(gradients.constant, weight, dtype) if wanted[1] else None,
            products.weight_gradient(gradients.current, inputs, ctx.few_spikes, dtype) if wanted[2] else None,
            gradients.constant.sum(dim=0) if wanted[3] else None,
            gradients.leak,
            None,
            None,
        )


def _learns(*tensors: th.Tensor | None) -> bool:
    return th.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def fire(equations: Equations, current: th.Tensor, time_steps: int) -> th.Tensor:
    """See [`fire`][sb3_spiking.snn.kernels.fire]."""
    if _learns(current, equations.leak):
        return _Fire.apply(current, equations.leak, equations, time_steps)
    current = current.detach().contiguous()
    spikes = current.new_empty((time_steps, *current.shape[1:]))
    _kernels_for(current).forward(equations, current, spikes)
    return spikes


def fire_connected(
    equations: Equations,
    inputs: th.Tensor,
    weight: th.Tensor,
    bias: th.Tensor,
    activity: th.Tensor | None,
    dtype: th.dtype | None,
) -> th.Tensor:
    """See [`fire_connected`][sb3_spiking.snn.kernels.fire_connected]."""
    if activity is not None:
        inputs = inputs.detach()
    if _learns(inputs, activity, weight, bias, equations.leak):
        return _Connected.apply(inputs, activity, weight, bias, equations.leak, equations, dtype)
    spikes, _ = products.product(inputs, weight, dtype)
    _kernels_for(spikes).forward(equations, spikes, spikes, bias=bias.detach())
    return spikes


def simulate(equations: Equations, current: th.Tensor, time_steps: int) -> tuple[th.Tensor, th.Tensor]:
    """
    Run a layer of neurons from rest and keep its membranes; not differentiable.

    :param equations: the neuron
    :param current: input current, ``[T, N, ...]``, or ``[1, N, ...]`` where it is the same at each step
    :param time_steps: number of steps ``T``
    :return: spikes and pre-spike membranes, ``[T, N, ...]`` each
    """
    current = current.detach().contiguous()
    spikes, membrane = (current.new_empty((time_steps, *current.shape[1:])) for _ in range(2))
    _kernels_for(current).forward(equations, current, spikes, membrane)
    return spikes, membrane


def regular_spikes(activity: th.Tensor, time_steps: int, threshold: float) -> th.Tensor:
    """See [`regular_spikes`][sb3_spiking.snn.kernels.regular_spikes]."""
    activity = activity.detach().contiguous()
    spikes = activity.new_empty((time_steps, *activity.shape))
    _kernels_for(activity).regular_spikes(activity, spikes, threshold)
    return spikes
