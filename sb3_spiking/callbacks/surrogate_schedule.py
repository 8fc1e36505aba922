"""Callback that changes the steepness of the surrogate gradient."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from sb3_spiking.arguments import positive_float
from sb3_spiking.callbacks.training import spiking_policy
from sb3_spiking.snn import SpikingLayer
from sb3_spiking.snn.surrogates import Surrogate


class SurrogateScheduleCallback(BaseCallback):
    """
    Change the steepness of the surrogate gradient linearly during training.

    Wide surrogates let more neurons learn, narrow ones follow the spikes more closely; shallow slopes, or slopes that
    grow, help spiking agents to learn (van den Berghe et al., 2025). Spikes do not change, gradients do. The constant
    is the ``width`` of ``"rect"`` and ``"triangle"``, the ``slope`` of ``"atan"`` and ``"sigmoid"``. It is not saved
    with the model: a loaded model has the constant of its ``surrogate_kwargs``.

    :param final: constant at the end, > 0
    :param initial: constant at the start, > 0; the policy's if None
    :param fraction: share of the training during which it changes, in (0, 1]
    :param verbose: not used
    :raises ValueError: if a value is not allowed, or, when training starts, if the policy does not spike or its
        surrogate has another number of constants than one, or none that SpikingJelly's surrogate has
    """

    def __init__(self, final: float, initial: float | None = None, fraction: float = 1.0, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.final = positive_float("final", final)
        self.initial = None if initial is None else positive_float("initial", initial)
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction={fraction!r} must lie in (0, 1]")
        self.fraction = fraction

    def _on_training_start(self) -> None:
        options = spiking_policy(self).spiking_options
        self._surrogate = options.surrogate_options()
        self._constant = _only_constant(options.surrogate, self._surrogate)
        self._check_layers(options.surrogate)
        self._start = getattr(self._surrogate, self._constant) if self.initial is None else self.initial
        if self._start != self.final and self._constants(self._start) == self._constants(self.final):
            raise ValueError(
                f"SurrogateScheduleCallback sets the constants of a SpikingJelly surrogate, and surrogate="
                f"{options.surrogate!r} builds {type(self._surrogate.build()).__name__}, of which "
                f"{self._constant} changes none"
            )
        self._set(self._start)

    def _on_step(self) -> bool:
        progress = min(1.0, self.num_timesteps / (self.fraction * self.model._total_timesteps))
        self._set(self._start + progress * (self.final - self._start))
        return True

    def _layers(self) -> Iterator[SpikingLayer]:
        modules = spiking_policy(self).spiking_network.modules()
        return (module for module in modules if isinstance(module, SpikingLayer))

    def _check_layers(self, surrogate: str) -> None:
        """Check that the layers have the policy's surrogate, not one that the user has put there."""
        expected = type(self._surrogate.build())
        for layer in self._layers():
            found = type(layer.neuron.surrogate_function)
            if found is not expected:
                raise ValueError(
                    f"SurrogateScheduleCallback changes surrogate={surrogate!r}, but {layer.name} has "
                    f"{found.__name__} in its place; give the policy surrogate='package.module:Name' instead"
                )

    def _constants(self, value: float) -> dict[str, Any]:
        """Return the constants of the SpikingJelly surrogate."""
        return getattr(replace(self._surrogate, **{self._constant: value}).build(), "_sg_params", {})

    def _set(self, value: float) -> None:
        # Set the constants in place: a new module would lose its hooks, and invalidate compiled networks.
        constants = self._constants(value)
        for layer in self._layers():
            for name, constant in constants.items():
                setattr(layer.neuron.surrogate_function, name, constant)
        self.logger.record(f"spikes/surrogate_{self._constant}", value)


def _only_constant(name: str, surrogate: Surrogate) -> str:
    """Return the name of a surrogate's constant."""
    constants = [field.name for field in fields(surrogate)]
    if len(constants) != 1:
        raise ValueError(
            f"SurrogateScheduleCallback changes the one constant of a surrogate, and surrogate={name!r} has "
            f"{len(constants)}: {', '.join(constants) or 'nothing to change'}"
        )
    return constants[0]
