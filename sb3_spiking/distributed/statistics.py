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


@th.no_grad()
def combine(policy: nn.Module) -> None:
    """
    Give other layers with running means and variances (batch normalisation) those of all the ranks' values.

    With equally many values on each rank, ``variance = mean of (variance_r + mean_r^2) - mean^2``.

    :param policy: any policy
    """
    for module in policy.modules():
        if isinstance(module, RunningNormExtractor):
            continue
        for names in MOMENTS:
            mean, var = (module._buffers.get(name) for name in names)
            if mean is not None and var is not None:
                moments = group.add(th.stack([mean, var + mean.square()])) / group.size()
                mean.copy_(moments[0])
                var.copy_((moments[1] - moments[0].square()).clamp(min=0.0))
