"""Statistics of normalisation layers over all the ranks: what they see together, not the average of what each sees."""

from collections.abc import Callable

import torch as th
from torch import nn

from sb3_spiking.distributed import group
from sb3_spiking.policies.normalization import Exchange, RunningNormExtractor, only_own

MOMENTS = (("running_mean", "running_var"), ("ra_mean", "ra_var"))
"""What torch's batch normalisation calls its means and variances, and what CrossQ's does."""


def attach(policy: nn.Module) -> Callable[[], None]:
    """
    Let observation statistics take in the batches of all the ranks, in their order, so that they stay equal.

    :param policy: any policy
    :return: a function that ends it
    """
    extractors = [module for module in policy.modules() if isinstance(module, RunningNormExtractor)]

    def exchange_by(function: Exchange) -> None:
        for extractor in extractors:
            extractor.exchange = function

    exchange_by(group.stack)
    return lambda: exchange_by(only_own)


def layers_with_moments(policy: nn.Module) -> list[nn.Module]:
    """
    Return the other layers with running means and variances: batch normalisation.

    :param policy: any policy
    """
    return [
        module
        for module in policy.modules()
        if not isinstance(module, RunningNormExtractor) and any(_moments(module, names) for names in MOMENTS)
    ]


@th.no_grad()
def combine(layers: list[nn.Module]) -> None:
    """
    Give layers with running means and variances those of all the ranks' values.

    With equally many values on each rank, ``variance = mean of (variance_r + mean_r^2) - mean^2``.

    :param layers: see [`layers_with_moments`][sb3_spiking.distributed.statistics.layers_with_moments]
    """
    for layer in layers:
        for mean, var in filter(None, (_moments(layer, names) for names in MOMENTS)):
            moments = group.add(th.stack([mean, var + mean.square()])) / group.size()
            mean.copy_(moments[0])
            var.copy_((moments[1] - moments[0].square()).clamp(min=0.0))


def _moments(layer: nn.Module, names: tuple[str, str]) -> tuple[th.Tensor, th.Tensor] | None:
    mean, var = (layer._buffers.get(name) for name in names)
    return None if mean is None or var is None else (mean, var)
