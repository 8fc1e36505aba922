"""Gaussian receptive fields, forward and backward, in few passes over memory."""

from typing import Any

import torch as th

from sb3_spiking.snn.observers import operations_are_traced


def receptive_fields(observations: th.Tensor, mean: th.Tensor, width: th.Tensor) -> th.Tensor:
    """
    Return the activity of each field, ``exp(-1/2 ((observation - mean) / width)^2)`` (Tang et al., 2020).

    :param observations: observations, ``[N, obs_dim]``
    :param mean: means, ``[obs_dim, population]``
    :param width: widths > 0, ``[obs_dim, population]``
    :return: activity in [0, 1], ``[N, obs_dim, population]``; differentiable any number of times
    """
    if operations_are_traced():
        return (((observations.unsqueeze(-1) - mean) / width).square() * -0.5).exp()
    return _ReceptiveFields.apply(observations, mean, width)


class _ReceptiveFields(th.autograd.Function):
    """Keep only one array of this size, the activity, for the backward pass; autograd would keep several."""

    @staticmethod
    def forward(ctx: Any, observations: th.Tensor, mean: th.Tensor, width: th.Tensor) -> th.Tensor:
        activity = (observations.unsqueeze(-1) - mean).div_(width).square_().mul_(-0.5).exp_()
        ctx.save_for_backward(observations, mean, width, activity)
        return activity

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, th.Tensor, th.Tensor]:
        """
        Compute, with the distance ``d = (observation - mean) / width`` and the gradient ``g`` of the activity ``a``::

            dL/dmean = sum of g a d / width        dL/dwidth = sum of g a d^2 / width        over the observations
            dL/dobservation = - sum of g a d / width                                         over the population
        """
        observations, mean, width, activity = ctx.saved_tensors
        distance = (observations.unsqueeze(-1) - mean).div_(width)
        pull = (gradient * activity).mul_(distance)
        grad_observations = -(pull / width).sum(dim=-1) if ctx.needs_input_grad[0] else None
        return grad_observations, pull.sum(dim=0) / width, (pull * distance).sum(dim=0) / width
