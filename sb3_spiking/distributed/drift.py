"""Whether the ranks still hold the same networks: what changes only one of them says nothing itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch as th
from torch import nn

from sb3_spiking.distributed import group

TOLERANCE = 1e-3
"""Of the largest number in a parameter: well above what processors of several kinds round differently."""


@dataclass(frozen=True)
class Drift:
    """
    How far the parameters of a rank are from those of the first one.

    :param parameter: name of the one that is farthest
    :param size: largest difference in it, as a part of its largest number on the first rank, >= 0
    """

    parameter: str
    size: float


@th.no_grad()
def measure(policy: nn.Module) -> Drift:
    """
    Compare the parameters with those of the first rank, in one message.

    :param policy: with the same parameters on each rank, at least one
    """
    named = dict(policy.named_parameters())
    own = [parameter.detach().flatten().float() for parameter in named.values()]
    firsts = th.cat(own)
    group.copy_first([firsts])
    pieces = firsts.split([part.numel() for part in own])
    sizes = [_part(mine - first, first) for mine, first in zip(own, pieces, strict=True)]
    return max(map(Drift, named, sizes), key=lambda drift: math.inf if math.isnan(drift.size) else drift.size)


def _part(difference: th.Tensor, of: th.Tensor) -> float:
    largest = difference.abs().max().item() if difference.numel() else 0.0
    return largest / max(of.abs().max().item(), 1e-12) if largest else 0.0


def check(everyone: Sequence[Drift], steps: int) -> None:
    """
    Refuse to go on with networks that differ.

    :param everyone: of each rank
    :param steps: environment steps so far, of all the ranks
    :raises RuntimeError: if there are any; the message names rank and parameter
    """
    for rank, drift in enumerate(everyone):
        if not drift.size <= TOLERANCE:
            raise RuntimeError(
                f"after {steps} steps {drift.parameter} of rank {rank} differs from rank 0's by {drift.size:.2g} times "
                "its largest number: something changes the training of one rank only, such as a callback that sets a "
                "learning rate by the episodes of its own rank; do on each rank what you do on one"
            )
