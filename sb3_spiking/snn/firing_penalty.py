"""Penalty on firing rates, added to the loss of any algorithm where the gradient of the spikes passes."""

from dataclasses import dataclass
from typing import Any

import torch as th

from sb3_spiking.snn.observers import is_exporting, operations_are_traced


@dataclass(frozen=True)
class FiringPenalty:
    """
    Penalty of a population, with its mean firing rate ``r`` over the steps, the batch and the neurons::

        weight max(0, r - target)^2

    :param weight: weight, in units of the algorithm's loss, > 0
    :param target: firing rate up to which nothing is penalised, in [0, 1]
    """

    weight: float
    target: float

    def __call__(self, spikes: th.Tensor) -> th.Tensor:
        """
        Penalise spikes; their values do not change.

        :param spikes: spikes of a population, ``[T, N, ...]``
        :return: the spikes; the gradient that passes them backward has that of the penalty added
        :raises RuntimeError: with gradients inside ``torch.compile`` and ``torch.func``
        """
        if not th.is_grad_enabled() or is_exporting():
            return spikes
        if operations_are_traced():
            raise RuntimeError(
                "firing_penalty= adds to gradients what torch.compile and torch.func do not see: train without them or "
                "with firing_penalty=0, or decide under torch.no_grad()"
            )
        return _Penalized.apply(spikes, self)


class _Penalized(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: th.Tensor, penalty: FiringPenalty) -> th.Tensor:
        excess = (spikes.mean() - penalty.target).clamp(min=0.0)
        ctx.save_for_backward(excess * (2.0 * penalty.weight / max(1, spikes.numel())))
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grad_spikes + slope, None
