"""Checks for gradients that are NaN or infinite."""

from collections.abc import Callable

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from sb3_spiking.optimizers.gradient_hooks import Parameters, check_finite, on_gradients_ready


class FiniteGradientsCallback(BaseCallback):
    """
    End the training at the first gradient that is NaN or infinite, instead of learning nothing without a word.

    Low precision and learning rates that are too high make such gradients. Training on several processes checks by
    itself.

    :raises FloatingPointError: in training, if there is one; the message names its parameter
    """

    def _on_training_start(self) -> None:
        self._detach = on_gradients_ready(self.model, _check)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._detach()


def _check(parameters: Parameters) -> Callable[[], None]:
    def check() -> None:
        gradients = {name: tensor.grad for name, tensor in parameters.items() if tensor.grad is not None}
        if gradients:
            check_finite(gradients, th.stack([gradient.sum() for gradient in gradients.values()]).sum())

    return check
