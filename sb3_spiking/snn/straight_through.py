"""Straight-through gradients: the derivative of a spike with respect to its activity is taken to be 1."""

from typing import Any

import torch as th

from sb3_spiking.snn.observers import is_exporting, operations_are_traced


def straight_through(activity: th.Tensor, spikes: th.Tensor) -> th.Tensor:
    """
    Give spikes the straight-through gradient.

    :param activity: activity that the spikes encode, ``[N, ...]``
    :param spikes: spikes ``[T, N, ...]``, without a graph
    :return: the spikes; their gradients, summed over the steps, are the gradient of the activity
    """
    if operations_are_traced():
        learns = th.is_grad_enabled() and not is_exporting()
        return spikes + (activity - activity.detach()) if learns else spikes
    return _StraightThrough.apply(activity, spikes)


class _StraightThrough(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activity: th.Tensor, spikes: th.Tensor) -> th.Tensor:
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor, None]:
        return grad_spikes.sum(dim=0), None
