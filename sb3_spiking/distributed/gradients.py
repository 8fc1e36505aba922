"""
Averages of gradients over the ranks, where mathematics wants them: before anything is made of the gradients.

Algorithms that clip gradients do so between ``backward`` and the optimiser's step, so their gradients are averaged when
``backward`` ends; those of the others when the optimiser is about to step, which leaves out what no optimiser will use
(the actor's loss of TD3 and SAC also has gradients for the critic).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch.autograd import Variable

from sb3_spiking.distributed import group

Detach = Callable[[], None]


def optimizers(model: BaseAlgorithm) -> dict[str, th.optim.Optimizer]:
    """
    Return all that steps: of the policy, and of SAC's entropy coefficient.

    :param model: an algorithm
    :return: by their names in it
    """
    named = {name: recursive_getattr(model, name) for name in model._get_torch_save_params()[0]}
    return {name: part for name, part in named.items() if isinstance(part, th.optim.Optimizer)}


def parameters_of(optimizer: th.optim.Optimizer) -> list[th.Tensor]:
    """
    Return what an optimiser steps.

    :param optimizer: any
    """
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


class Average:
    """
    The average over the ranks of the gradients of some parameters, in one message.

    A parameter that has no gradient on one rank counts as zero there, one that has none on any keeps none.

    :param parameters: of one type and on one device, the same on each rank
    :param names: of the parameters, for messages
    """

    def __init__(self, parameters: Sequence[th.Tensor], names: Sequence[str]) -> None:
        self.parameters = list(parameters)
        self.names = list(names)
        sizes = [parameter.numel() for parameter in self.parameters]
        self._message = self.parameters[0].new_zeros(sum(sizes) + len(sizes))
        *pieces, self._present = self._message.split([*sizes, len(sizes)])
        self._pieces = [piece.view_as(p) for piece, p in zip(pieces, self.parameters, strict=True)]

    @th.no_grad()
    def __call__(self) -> None:
        """
        Replace the gradients by their averages.

        :raises FloatingPointError: if one is not finite, on whatever rank
        """
        for index, (parameter, piece) in enumerate(zip(self.parameters, self._pieces, strict=True)):
            self._present[index] = parameter.grad is not None
            piece.zero_() if parameter.grad is None else piece.copy_(parameter.grad)
        group.add(self._message)
        self._message /= group.size()
        self._check()
        for present, parameter, piece in zip(self._present.tolist(), self.parameters, self._pieces, strict=True):
            if present:
                parameter.grad = piece.clone() if parameter.grad is None else parameter.grad.copy_(piece)

    def _check(self) -> None:
        if th.isfinite(self._message.sum()):
            return
        bad = [name for name, piece in zip(self.names, self._pieces, strict=True) if not th.isfinite(piece).all()]
        if bad:  # and not only a sum that overflowed
            raise FloatingPointError(f"the gradient of {', '.join(bad)} is NaN or infinite")


def attach(model: BaseAlgorithm) -> Detach:
    """
    Average all the gradients that a model will use, from now on.

    :param model: an algorithm of SB3
    :return: a function that ends it
    """
    names = {id(parameter): name for name, parameter in model.policy.named_parameters()}
    averages = {
        name: Average(parameters, [names.get(id(p), name.removesuffix("_optimizer")) for p in parameters])
        for name, optimizer in optimizers(model).items()
        if (parameters := parameters_of(optimizer))
    }
    handles = list(
        _after_backward(averages.values()) if hasattr(model, "max_grad_norm") else _before_steps(model, averages)
    )

    def detach() -> None:
        for handle in handles:
            handle.remove()

    return detach


def _before_steps(model: BaseAlgorithm, averages: dict[str, Average]) -> Iterator[Any]:
    for name, optimizer in optimizers(model).items():
        if name in averages:
            yield optimizer.register_step_pre_hook(lambda *_, average=averages[name]: average())


def _after_backward(averages: Iterable[Average]) -> Iterator[Any]:
    for average in averages:
        trigger = _Once(average)
        for parameter in average.parameters:
            yield parameter.register_post_accumulate_grad_hook(trigger)


class _Once:
    """Runs a function at the end of each backward pass, however many parameters report to it."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        self.expected = False

    def __call__(self, parameter: th.Tensor) -> None:
        if not self.expected:
            self.expected = True
            # Not documented, but what DistributedDataParallel and FSDP are built on.
            Variable._execution_engine.queue_callback(self._run)

    def _run(self) -> None:
        self.expected = False
        self.function()
