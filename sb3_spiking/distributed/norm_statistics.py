"""Statistics of normalisation layers, computed over the batches of all the ranks."""

from collections.abc import Callable

import torch as th
from torch import nn

from sb3_spiking.distributed import group
from sb3_spiking.policies.normalization import Exchange, RunningNormExtractor, only_own

MOMENTS = (("running_mean", "running_var"), ("ra_mean", "ra_var"))
"""Buffers with the running means and variances of torch's batch normalisation, and of CrossQ's."""


def share_observations(policy: nn.Module) -> Callable[[], None]:
    """
    Update observation statistics by the batches of all the ranks, in the order of the ranks, so that they stay equal.

    :return: function that ends the sharing
    """
    extractors = [module for module in policy.modules() if isinstance(module, RunningNormExtractor)]

    def exchange_with(function: Exchange) -> None:
        for extractor in extractors:
            extractor.exchange = function

    exchange_with(group.all_gather)
    return lambda: exchange_with(only_own)


def batch_norms(policy: nn.Module) -> list[nn.Module]:
    """Return the batch normalisation layers: all but the observation statistics that have running moments."""
    return [
        module
        for module in policy.modules()
        if not isinstance(module, RunningNormExtractor) and any(_moments(module, names) for names in MOMENTS)
    ]


@th.no_grad()
def synchronize(batch_norms: list[nn.Module]) -> None:
    """
    Replace running means and variances by those over all the ranks.

    With equally many values on each rank, ``variance = mean of (variance_r + mean_r^2) - mean^2``.
    """
    for layer in batch_norms:
        for mean, var in filter(None, (_moments(layer, names) for names in MOMENTS)):
            moments = group.all_reduce(th.stack([mean, var + mean.square()])) / group.size()
            mean.copy_(moments[0])
            var.copy_((moments[1] - moments[0].square()).clamp(min=0.0))


def _moments(layer: nn.Module, names: tuple[str, str]) -> tuple[th.Tensor, th.Tensor] | None:
    mean, var = (layer._buffers.get(name) for name in names)
    return None if mean is None or var is None else (mean, var)
