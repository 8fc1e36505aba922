"""
Autograd functions around the fused loops.

The forward pass keeps a trace of the states before each reset. A backward pass that is itself differentiated runs as a
loop of torch operations (``double_backward``).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch as th

from sb3_spiking.snn.execution import double_backward, sparse_products
from sb3_spiking.snn.execution.backends import backend_of
from sb3_spiking.snn.execution.dynamics import Dynamics
from sb3_spiking.snn.execution.rounded_products import multiply


def differentiable_gradients(
    function: Callable[..., th.Tensor], inputs: Sequence[th.Tensor | None], gradient: th.Tensor
) -> list[th.Tensor | None]:
    """
    Return differentiable gradients; torch's ``once_differentiable`` would drop their graph silently.

    The function is differentiated with respect to aliases of its inputs, since one input may depend on another: torch
    would follow that way as well, and again when the gradients are used.

    :param function: function of the inputs
    :param inputs: tensors, some of which may need no gradient, or None
    :param gradient: gradient of the function's value
    :return: gradient of each input; None where it needs none
    """
    aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    learnt = [alias for alias in aliases if alias is not None and alias.requires_grad]
    gradients = iter(th.autograd.grad(function(*aliases), learnt, gradient, create_graph=True))
    return [next(gradients) if alias is not None and alias.requires_grad else None for alias in aliases]


class _Population(th.autograd.Function):
    """Spikes of a population from rest, with the surrogate gradient through time."""

    @staticmethod
    def forward(
        ctx: Any, current: th.Tensor, learnt: th.Tensor | None, dynamics: Dynamics, time_steps: int
    ) -> th.Tensor:
        spikes = current.new_empty((time_steps, *current.shape[1:]))
        trace = current.new_empty((dynamics.equations.kept, *spikes.shape))
        backend_of(current).forward(dynamics, current.detach().contiguous(), spikes, trace)
        # A tensor with a graph as an attribute of ctx would leak memory; saved tensors do not.
        ctx.dynamics = dynamics._replace(learnt=None)
        ctx.save_for_backward(trace, current, learnt)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor | None, ...]:
        trace, current, learnt = ctx.saved_tensors
        dynamics = ctx.dynamics._replace(learnt=learnt)
        if th.is_grad_enabled():

            def spikes(current: th.Tensor, learnt: th.Tensor | None) -> th.Tensor:
                own = dynamics._replace(learnt=learnt)
                return double_backward.run(own, current.expand_as(grad_spikes), own.spike_function())

            return (*differentiable_gradients(spikes, (current, learnt), grad_spikes), None, None)
        constant = len(current) < len(grad_spikes)
        gradients = backend_of(trace).backward(dynamics, trace, grad_spikes, constant)
        return gradients.constant[None] if constant else gradients.current, gradients.learnt, None, None


class _Layer(th.autograd.Function):
    """Spikes of a fully connected layer from rest; its current becomes its membranes, in place."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: th.Tensor,
        activity: th.Tensor | None,
        weight: th.Tensor,
        bias: th.Tensor,
        learnt: th.Tensor | None,
        dynamics: Dynamics,
        dtype: th.dtype | None,
    ) -> th.Tensor:
        kept = dynamics.equations.kept
        trace = inputs.new_empty((kept, *inputs.shape[:-1], len(weight)))
        ctx.few_spikes = sparse_products.product_into(trace[0], inputs, weight, dtype)
        spikes = th.empty_like(trace[0])
        backend_of(trace).forward(dynamics, trace[0], spikes, trace, bias.detach())
        ctx.dynamics, ctx.dtype = dynamics._replace(learnt=None), dtype
        ctx.save_for_backward(trace, inputs, activity, weight, bias, learnt)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor | None, ...]:
        trace, inputs, activity, weight, bias, learnt = ctx.saved_tensors
        dynamics = ctx.dynamics._replace(learnt=learnt)
        if th.is_grad_enabled():

            def spikes(
                inputs: th.Tensor,
                activity: th.Tensor | None,
                weight: th.Tensor,
                bias: th.Tensor,
                learnt: th.Tensor | None,
            ) -> th.Tensor:
                # The straight-through gradient: spikes plus an activity that adds 0.
                given = inputs if activity is None else inputs + (activity - activity.detach())
                current = sparse_products.differentiable_product(given, weight, ctx.dtype) + bias
                own = dynamics._replace(learnt=learnt)
                return double_backward.run(own, current, own.spike_function())

            learnt_inputs = (inputs, activity, weight, bias, learnt)
            return (*differentiable_gradients(spikes, learnt_inputs, grad_spikes), None, None)
        gradients = backend_of(trace).backward(dynamics, trace, grad_spikes)
        wanted, dtype = ctx.needs_input_grad, ctx.dtype
        return (
            multiply(gradients.current, weight, dtype) if wanted[0] else None,
            multiply(gradients.constant, weight, dtype) if wanted[1] else None,
            sparse_products.weight_gradient(gradients.current, inputs, ctx.few_spikes, dtype) if wanted[2] else None,
            gradients.constant.sum(dim=0) if wanted[3] else None,
            gradients.learnt,
            None,
            None,
        )


def _learns(*tensors: th.Tensor | None) -> bool:
    return th.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def run_population(dynamics: Dynamics, current: th.Tensor, time_steps: int) -> th.Tensor:
    """
    Run a population of neurons from rest over all the time steps; differentiable any number of times.

    :param dynamics: neurons
    :param current: input current, ``[T, N, ...]``, or ``[1, N, ...]`` where it is the same at each step
    :param time_steps: number of steps ``T``
    :return: spikes, 0 or 1, ``[T, N, ...]``, of the same type and memory format
    """
    if _channels_lie_last(current):
        return run_population(dynamics, current.movedim(2, -1), time_steps).movedim(-1, 2)
    if _learns(current, dynamics.learnt):
        return _Population.apply(current, dynamics.learnt, dynamics, time_steps)
    current = current.detach().contiguous()
    spikes = current.new_empty((time_steps, *current.shape[1:]))
    backend_of(current).forward(dynamics, current, spikes)
    return spikes


def _channels_lie_last(current: th.Tensor) -> bool:
    """Tell whether images ``[T, N, C, H, W]`` have channels-last memory; the order does not matter to neurons."""
    return current.dim() == 5 and not current.is_contiguous() and current.movedim(2, -1).is_contiguous()


def run_layer(
    dynamics: Dynamics,
    inputs: th.Tensor,
    weight: th.Tensor,
    bias: th.Tensor,
    activity: th.Tensor | None = None,
    dtype: th.dtype | None = None,
) -> th.Tensor:
    """
    Run a fully connected layer from rest over all the time steps; differentiable any number of times.

    The current of the neurons is overwritten by their membranes or spikes.

    :param dynamics: neurons
    :param inputs: spikes or currents, ``[T, N, inputs]``
    :param weight: weights, ``[neurons, inputs]``
    :param bias: biases, ``[neurons]``
    :param activity: activity that the inputs encode, ``[N, inputs]``; it receives their gradient, summed over the
        steps (straight-through), which takes one product instead of T
    :param dtype: type that the factors of the products are rounded to; None for no rounding
    :return: spikes, 0 or 1, ``[T, N, neurons]``
    """
    if activity is not None:
        inputs = inputs.detach()
    if _learns(inputs, activity, weight, bias, dynamics.learnt):
        return _Layer.apply(inputs, activity, weight, bias, dynamics.learnt, dynamics, dtype)
    spikes = inputs.new_empty((*inputs.shape[:-1], len(weight)))
    sparse_products.product_into(spikes, inputs, weight, dtype)
    backend_of(spikes).forward(dynamics, spikes, spikes, bias=bias.detach())
    return spikes
