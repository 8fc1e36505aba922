"""A learning rate of its own for some parameters of an optimiser whose rates SB3 overwrites."""

from typing import Any

import torch as th

SCALE = "lr_scale"
_BASE = "_base_lr"
_ATTACHED = "_lr_scale_attached"


def scale_learning_rate(optimizer: th.optim.Optimizer, scale: float) -> None:
    """
    Multiply the learning rate of every parameter group by a constant from now on.

    SB3 writes one rate, from its schedule, into all the parameter groups before each update. The scale is
    therefore applied around each step and taken back after it: schedules, logs and saved optimisers keep
    showing SB3's rate.

    :param optimizer: any torch optimiser
    :param scale: factor, > 0
    """
    for group in optimizer.param_groups:
        group[SCALE] = scale
    attach_hooks(optimizer)


def attach_hooks(optimizer: th.optim.Optimizer) -> None:
    """
    Attach the scaling to an optimiser whose groups hold their scale; deep copies and pickles lose their hooks.

    :param optimizer: any torch optimiser; one that has the hooks is left as it is
    """
    if not getattr(optimizer, _ATTACHED, False):
        optimizer.register_step_pre_hook(_apply)
        optimizer.register_step_post_hook(_take_back)
        # Lost with the hooks: torch copies and pickles the state of an optimiser, not its attributes.
        setattr(optimizer, _ATTACHED, True)


def _apply(optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group[_BASE] = group["lr"]
        group["lr"] = group["lr"] * group.get(SCALE, 1.0)


def _take_back(optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop(_BASE)
