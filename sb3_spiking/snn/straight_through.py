"""Spikes that stand for an activity: the derivative of each of them with respect to it is 1."""

from typing import Any

import torch as th

from sb3_spiking.snn.watching import is_exporting, operations_are_traced


def straight_through(activity: th.Tensor, spikes: th.Tensor) -> th.Tensor:
    """
    Give spikes the straight-through gradient.

    :param activity: ``[N, ...]``
    :param spikes: ``[T, N, ...]``, without a graph
    :return: the spikes; their gradients, summed over the steps, are the activity's
    """
    if operations_are_traced():
        learns = th.is_grad_enabled() and not is_exporting()
        return spikes + (activity - activity.detach()) if learns else spikes
    return _StraightThrough.apply(activity, spikes)


def activity_of(spikes: th.Tensor) -> th.Tensor | None:
    """
    Return what receives the gradient of spikes, summed over the steps.

    Who knows it can sum first: the gradient of a linear map of the spikes is then one product instead of T.

    :param spikes: any tensor
    :return: the activity, or None if the tensor is not what ``straight_through`` returned, or if somebody looks at
        its own gradient
    """
    if spikes.is_leaf or spikes.retains_grad or spikes._backward_hooks:
        return None
    # The node of a function's output is an instance of its backward class.
    node: Any = spikes.grad_fn
    is_straight_through = isinstance(node, _StraightThrough._backward_cls)
    return node.saved_tensors[0] if is_straight_through else None


class _StraightThrough(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activity: th.Tensor, spikes: th.Tensor) -> th.Tensor:
        ctx.save_for_backward(activity)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor, None]:
        return grad_spikes.sum(dim=0), None
