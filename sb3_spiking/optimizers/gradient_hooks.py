"""
Where to act on gradients without forking an algorithm: before anything is made of them.

Algorithms that clip gradients do so between ``backward`` and the optimiser's step, so what is to be done with theirs is
done when ``backward`` ends; with those of the others when the optimiser is about to step, which leaves out what no
optimiser will use (the actor's loss of TD3 and SAC also has gradients for the critic).
"""

from collections.abc import Callable, Iterator, Mapping

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch.autograd import Variable
from torch.utils.hooks import RemovableHandle

Parameters = Mapping[str, th.Tensor]
"""What one optimiser steps, by name."""
Detach = Callable[[], None]


def optimizers(model: BaseAlgorithm) -> dict[str, th.optim.Optimizer]:
    """
    Return all that steps: of the policy, and of SAC's entropy coefficient.

    :param model: an algorithm
    :return: by their names in it
    """
    named = {name: recursive_getattr(model, name) for name in model._get_torch_save_params()[0]}
    return {name: part for name, part in named.items() if isinstance(part, th.optim.Optimizer)}


def on_gradients_ready(model: BaseAlgorithm, action: Callable[[Parameters], Callable[[], None]]) -> Detach:
    """
    Do something whenever the gradients of an optimiser's parameters are complete, from now on.

    :param model: an algorithm
    :param action: given the parameters of one optimiser, returns what to do
    :return: a function that ends it
    """
    names = {id(parameter): name for name, parameter in model.policy.named_parameters()}
    handles: list[RemovableHandle] = []
    for optimizer_name, optimizer in optimizers(model).items():
        tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        if not tensors:
            continue
        # SAC's entropy coefficient is none of the policy's parameters.
        other = optimizer_name.removesuffix("_optimizer")
        act = action({names.get(id(tensor), other): tensor for tensor in tensors})
        handles += _after_backward(tensors, act) if hasattr(model, "max_grad_norm") else [_before_step(optimizer, act)]

    def detach() -> None:
        for handle in handles:
            handle.remove()

    return detach


def _before_step(optimizer: th.optim.Optimizer, act: Callable[[], None]) -> RemovableHandle:
    return optimizer.register_step_pre_hook(lambda *_: act())


def _after_backward(tensors: list[th.Tensor], act: Callable[[], None]) -> Iterator[RemovableHandle]:
    once = _Once(act)
    for tensor in tensors:
        yield tensor.register_post_accumulate_grad_hook(once)


class _Once:
    """Acts at the end of each backward pass, however many parameters report to it."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.expected = False

    def __call__(self, parameter: th.Tensor) -> None:
        if not self.expected:
            self.expected = True
            # Not documented, but what DistributedDataParallel and FSDP are built on.
            Variable._execution_engine.queue_callback(self._run)

    def _run(self) -> None:
        self.expected = False
        self.act()


def check_finite(gradients: Parameters, total: th.Tensor) -> None:
    """
    Refuse gradients that are not finite.

    :param gradients: by the names of their parameters
    :param total: the sum of all their numbers
    :raises FloatingPointError: if one is NaN or infinite; the message names its parameter
    """
    if th.isfinite(total):
        return
    bad = [name for name, gradient in gradients.items() if not th.isfinite(gradient).all()]
    if bad:  # and not only a sum that overflowed
        raise FloatingPointError(f"the gradient of {', '.join(bad)} is NaN or infinite")
