"""Scaled learning rates for some parameters of an optimiser whose rates SB3 overwrites."""

from collections.abc import Iterable
from typing import Any

import torch as th
from torch import nn

SCALE = "lr_scale"
_BASE = "_base_lr"
_ATTACHED = "_lr_scale_attached"


def scaled_optimizer(
    optimizer_class: type[th.optim.Optimizer],
    parameters: Iterable[nn.Parameter],
    scaled: Iterable[nn.Parameter],
    scale: float,
    **kwargs: Any,
) -> th.optim.Optimizer:
    """
    Make an optimiser in which some parameters learn at a multiple of the rate of the others.

    SB3 writes one rate, from its schedule, into all the parameter groups before each update. The scale is therefore
    applied before each step and removed after it: schedules, logs and saved optimisers show SB3's rate.

    :param optimizer_class: class of the optimiser
    :param parameters: all the parameters
    :param scaled: parameters with a scaled rate
    :param scale: their rate as a multiple of the optimiser's, > 0
    :param kwargs: arguments of the optimiser
    :return: optimiser with the scaling attached
    """
    own = {id(parameter) for parameter in scaled}
    groups: list[dict[str, Any]] = [{"params": [], SCALE: scale}, {"params": [], SCALE: 1.0}]
    for parameter in parameters:
        groups[id(parameter) not in own]["params"].append(parameter)
    optimizer = optimizer_class([group for group in groups if group["params"]], **kwargs)
    attach_hooks(optimizer)
    return optimizer


def attach_hooks(optimizer: th.optim.Optimizer) -> None:
    """
    Attach the scaling to an optimiser whose groups hold their scale; deep copies and pickles lose their hooks.

    :param optimizer: optimiser; one with the hooks stays as it is
    """
    if not getattr(optimizer, _ATTACHED, False):
        optimizer.register_step_pre_hook(_apply)
        optimizer.register_step_post_hook(_take_back)
        # The mark is lost with the hooks: torch copies and pickles an optimiser's state, not its attributes.
        setattr(optimizer, _ATTACHED, True)


def _apply(optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group[_BASE] = group["lr"]
        group["lr"] = group["lr"] * group.get(SCALE, 1.0)


def _take_back(optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group.pop(_BASE)
