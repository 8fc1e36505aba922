"""What cannot be right on several ranks: refused before the first step, with the reason."""

from collections.abc import Sequence
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

NO_GRADIENTS = {
    "TRPO": "it does not learn by an optimiser's steps, and its line search would stop at another place on each rank",
    "ARS": "it does not learn by gradients",
}

OWN_BUSINESS = {"seed", "verbose", "tensorboard_log", "start_time"}
"""Settings that may differ between ranks."""


def check(model: BaseAlgorithm) -> None:
    """
    Refuse what would leave the ranks with different networks, or waiting for each other.

    :param model: an algorithm
    :raises ValueError: if there is such a thing; the message says why and what to use
    """
    for cls in type(model).__mro__:
        if cls.__name__ in NO_GRADIENTS:
            raise ValueError(f"{cls.__name__} cannot be trained on several ranks: {NO_GRADIENTS[cls.__name__]}")
    if getattr(model, "target_kl", None) is not None:
        raise ValueError(
            f"target_kl={model.target_kl!r}: each rank would stop its epochs at another batch; "  # type: ignore[attr-defined]
            "use target_kl=None and fewer epochs"
        )
    if isinstance(model, OffPolicyAlgorithm):
        frequency = model.train_freq
        unit = getattr(frequency, "unit", None)
        if unit == TrainFrequencyUnit.EPISODE:
            raise ValueError(
                f"train_freq=({frequency.frequency}, 'episode'): episodes end at other steps on each rank; "  # type: ignore[union-attr]
                "use steps, for example train_freq=(1, 'step')"
            )
    if model.get_vec_normalize_env() is not None:
        raise ValueError(
            "VecNormalize would normalise differently on each rank; use a policy that normalises observations itself, "
            "as the spiking ones do"
        )


def settings(model: BaseAlgorithm, total_timesteps: int) -> dict[str, Any]:
    """
    Return what must be the same on each rank.

    :param model: an algorithm
    :param total_timesteps: its budget
    :return: settings by name
    """
    plain = {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, int | float | str | tuple) and not name.startswith("_") and name not in OWN_BUSINESS
    }
    return {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "parameters": [(name, tuple(parameter.shape)) for name, parameter in model.policy.named_parameters()],
        "total_timesteps": total_timesteps,
        "torch": th.__version__,
        **plain,
    }


def check_equal(everyone: Sequence[dict[str, Any]]) -> None:
    """
    Refuse settings that differ.

    :param everyone: the settings of each rank
    :raises ValueError: if some do; the message names them
    """
    first = everyone[0]
    for rank, other in enumerate(everyone):
        names = sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
        if names:
            differences = "; ".join(f"{name} is {other.get(name)} and not {first.get(name)}" for name in names[:3])
            raise ValueError(f"rank {rank} differs from rank 0: {differences[:500]}")
