"""Callback that ends a training at NaN or infinite gradients."""

from collections.abc import Callable

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from sb3_spiking.optimizers.gradient_hooks import Parameters, check_finite, on_gradients_ready


class FiniteGradientsCallback(BaseCallback):
    """
    End the training at the first gradient that is NaN or infinite, which would silently stop all learning.

    Low precision and too high learning rates cause such gradients. ``DataParallelCallback`` has this check built in.

    :raises FloatingPointError: in training, if a gradient is not finite; the message names its parameter
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
