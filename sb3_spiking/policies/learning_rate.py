"""A learning rate of its own for some parameters of an optimiser whose rates SB3 overwrites."""

from typing import Any

import torch as th

SCALE = "lr_scale"
_BASE = "_base_lr"


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
    Attach the scaling to an optimiser whose groups hold their scale; copies and pickles lose their hooks.

    :param optimizer: an optimiser without the hooks
    """
    optimizer.register_step_pre_hook(_apply)
    optimizer.register_step_post_hook(_take_back)


def _apply(optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group[_BASE] = group["lr"]
        group["lr"] = group["lr"] * group.get(SCALE, 1.0)


def _take_back(optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop(_BASE)
