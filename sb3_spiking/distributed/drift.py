"""Comparison of the ranks' networks during training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch as th
from torch import nn

from sb3_spiking.distributed import group

TOLERANCE = 1e-3
"""Largest relative difference allowed: well above the rounding differences between kinds of processors."""


@dataclass(frozen=True)
class Drift:
    """
    Largest distance of a rank's parameters from those of rank 0.

    :param parameter: name of the parameter with the largest distance
    :param size: its largest difference, relative to its largest absolute value on rank 0, >= 0
    """

    parameter: str
    size: float


@th.no_grad()
def measure(policy: nn.Module) -> Drift:
    """Compare the parameters, of which there is at least one, with those of rank 0, in one message."""
    named = dict(policy.named_parameters())
    own = [parameter.detach().flatten().float() for parameter in named.values()]
    firsts = th.cat(own)
    group.broadcast([firsts])
    pieces = firsts.split([part.numel() for part in own])
    sizes = [_relative(mine - first, first) for mine, first in zip(own, pieces, strict=True)]
    return max(map(Drift, named, sizes), key=lambda drift: math.inf if math.isnan(drift.size) else drift.size)


def _relative(difference: th.Tensor, reference: th.Tensor) -> float:
    largest = difference.abs().max().item() if difference.numel() else 0.0
    return largest / max(reference.abs().max().item(), 1e-12) if largest else 0.0


def check(drifts: Sequence[Drift], steps: int) -> None:
    """
    Raise a RuntimeError that names rank and parameter, if the network of a rank differs from rank 0's.

    :param drifts: drift of each rank
    :param steps: environment steps so far, of all the ranks
    """
    for rank, drift in enumerate(drifts):
        if not drift.size <= TOLERANCE:
            raise RuntimeError(
                f"after {steps} steps {drift.parameter} of rank {rank} differs from rank 0's by {drift.size:.2g} times "
                "its largest number: something changes the training of one rank only, such as a callback that sets a "
                "learning rate by the episodes of its own rank; do on each rank what you do on one"
            )
