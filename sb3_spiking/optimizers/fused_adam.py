"""torch's fused Adam: one pass over memory for each parameter, where its default on the CPU takes one per operation."""

from typing import Any

import torch as th
from torch import nn

ALTERNATIVES = ("foreach", "capturable", "differentiable")
"""Arguments of Adam that exclude it, or with which somebody has chosen."""


def fuse(policy: nn.Module) -> None:
    """
    Let the Adam optimisers of a policy take their steps in one pass; the equations are the same.

    What the user has chosen otherwise stays: another optimiser, ``optimizer_kwargs=dict(fused=False)`` or
    ``dict(foreach=True)``.

    :param policy: whose modules hold optimisers, as SB3's do
    """
    for module in policy.modules():
        optimizer: Any = vars(module).get("optimizer")
        # Exact types: a subclass may have another step.
        if type(optimizer) not in (th.optim.Adam, th.optim.AdamW):
            continue
        for group in optimizer.param_groups:
            if group["fused"] is None and not any(group[name] for name in ALTERNATIVES):
                group["fused"] = True
