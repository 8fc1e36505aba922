"""
Functions of complete gradients, run before clipping and the optimiser's step, without a fork of the algorithm.

Algorithms that clip gradients do so between ``backward`` and the step, so their functions run at the end of
``backward``. Those of the others run before the step, which leaves out gradients that no optimiser uses (the actor loss
of TD3 and SAC has gradients for the critic too).
"""

from collections.abc import Callable, Iterator, Mapping

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch.autograd import Variable
from torch.utils.hooks import RemovableHandle

Parameters = Mapping[str, th.Tensor]
"""Parameters of one optimiser, by name."""
Detach = Callable[[], None]


def optimizers(model: BaseAlgorithm) -> dict[str, th.optim.Optimizer]:
    """
    Return the optimisers of a model: those of the policy, and of SAC's entropy coefficient.

    :param model: algorithm
    :return: optimisers by their names in the model
    """
    named = {name: recursive_getattr(model, name) for name in model._get_torch_save_params()[0]}
    return {name: part for name, part in named.items() if isinstance(part, th.optim.Optimizer)}


def on_gradients_ready(model: BaseAlgorithm, action: Callable[[Parameters], Callable[[], None]]) -> Detach:
    """
    Run a function whenever the gradients of an optimiser's parameters are complete.

    :param model: algorithm
    :param action: factory: parameters of one optimiser -> function to run
    :return: function that removes the hooks
    """
    names = {id(parameter): name for name, parameter in model.policy.named_parameters()}
    handles: list[RemovableHandle] = []
    for optimizer_name, optimizer in optimizers(model).items():
        tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        if not tensors:
            continue
        # SAC's entropy coefficient is not a parameter of the policy.
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
    """Hook that runs a function once per backward pass."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.expected = False

    def __call__(self, parameter: th.Tensor) -> None:
        if not self.expected:
            self.expected = True
            # Not documented, but DistributedDataParallel and FSDP rely on it.
            Variable._execution_engine.queue_callback(self._run)

    def _run(self) -> None:
        self.expected = False
        self.act()


def check_finite(gradients: Parameters, total: th.Tensor) -> None:
    """
    Check that gradients are finite.

    :param gradients: gradients by the names of their parameters
    :param total: sum of all their numbers
    :raises FloatingPointError: if one is NaN or infinite; the message names its parameter
    """
    if th.isfinite(total):
        return
    bad = [name for name, gradient in gradients.items() if not th.isfinite(gradient).all()]
    if bad:  # else the sum alone has overflowed
        raise FloatingPointError(f"the gradient of {', '.join(bad)} is NaN or infinite")
