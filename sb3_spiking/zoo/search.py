"""Search space of the spiking policies, beside rl_zoo3's own, for ``sb3-spiking train -optimize``."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from gymnasium import spaces

from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.observations import parts_of
from sb3_spiking.snn.surrogates import SURROGATES

NEURONS = ("cuba_lif", "lif", "plif", "if")
STEEPNESS = {"width": (0.1, 2.0), "slope": (1.0, 20.0)}
"""Constant of a surrogate -> range in which it is searched."""
UNCHANGED = ("time_steps", "neuron", "encoder_population", "actor_lr_scale")
"""Parameters of a trial that are also arguments of the policy."""


class Trial(Protocol):
    """Methods of Optuna's trials that the search uses."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """
    Searched arguments of a spiking policy.

    :param policy: policy class
    :param fixed: ``policy_kwargs`` set by the user, which are not searched
    :param observation_space: observation space of the wrapped environment
    """

    policy: type[SpikingPolicy]
    fixed: Mapping[str, Any]
    observation_space: spaces.Space

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """
        Suggest values.

        :param trial: trial of Optuna
        :return: arguments for ``policy_kwargs``, beside the fixed ones
        """
        found: dict[str, Any] = {}
        if self._is_open("time_steps"):
            found["time_steps"] = trial.suggest_int("time_steps", 2, 16, log=True)
        if self._is_open("neuron", "neuron_kwargs"):
            found["neuron"] = trial.suggest_categorical("neuron", NEURONS)
        if self._is_open("surrogate_kwargs"):
            surrogate = SURROGATES[self.fixed.get("surrogate", self.policy.preset.surrogate)]
            for constant in STEEPNESS.keys() & {field.name for field in dataclasses.fields(surrogate)}:
                steepness = trial.suggest_float(f"surrogate_{constant}", *STEEPNESS[constant], log=True)
                found["surrogate_kwargs"] = {constant: steepness}
        if self._has_populations() and self._is_open("encoder_population"):
            found["encoder_population"] = trial.suggest_int("encoder_population", 4, 16)
        if self.policy.critic_key is not None and self._is_open("actor_lr_scale"):
            found["actor_lr_scale"] = trial.suggest_float("actor_lr_scale", 0.1, 1.0, log=True)
        return found

    def _is_open(self, *names: str) -> bool:
        return not any(name in self.fixed for name in names)

    def _has_populations(self) -> bool:
        if self.fixed.get("encoder", self.policy.preset.encoder) == "direct":
            return False
        parts = parts_of(self.observation_space, not self.fixed.get("normalize_images", True))
        return not all(part.is_image for part in parts)


def split(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Separate the parameters of a trial.

    :param params: all the parameters, as Optuna has stored them
    :return: parameters of rl_zoo3, and arguments for ``policy_kwargs`` as `SearchSpace.suggest` returned them
    """
    rest = dict(params)
    found = {name: rest.pop(name) for name in UNCHANGED if name in rest}
    for constant in STEEPNESS:
        if f"surrogate_{constant}" in rest:
            found["surrogate_kwargs"] = {constant: rest.pop(f"surrogate_{constant}")}
    return rest, found
