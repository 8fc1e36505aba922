"""torch's fused Adam: one pass over memory per parameter, where the default on the CPU takes one per operation."""

from typing import Any

import torch as th
from torch import nn

ALTERNATIVES = ("foreach", "capturable", "differentiable")
"""Arguments of Adam that exclude the fused step, or that show the user's own choice."""


def fuse(policy: nn.Module) -> None:
    """
    Switch the Adam optimisers of a policy to the fused step; the equations are the same.

    The user's own choice stays: another optimiser, ``optimizer_kwargs=dict(fused=False)`` or ``dict(foreach=True)``.

    :param policy: policy whose modules hold optimisers, as SB3's do
    """
    for module in policy.modules():
        optimizer: Any = vars(module).get("optimizer")
        # Exact types: a subclass may have another step.
        if type(optimizer) not in (th.optim.Adam, th.optim.AdamW):
            continue
        for group in optimizer.param_groups:
            if group["fused"] is None and not any(group[name] for name in ALTERNATIVES):
                group["fused"] = True
