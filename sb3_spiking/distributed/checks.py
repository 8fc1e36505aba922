"""Checks that reject unsupported settings before training starts."""

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

NO_GRADIENTS = {
    "TRPO": "it does not learn by an optimiser's steps, and its line search would stop at another place on each rank",
    "ARS": "it does not learn by gradients",
}


def check(model: BaseAlgorithm) -> None:
    """Raise a ValueError for settings that would let the ranks' networks differ, or the ranks wait for each other."""
    for cls in type(model).__mro__:
        if cls.__name__ in NO_GRADIENTS:
            raise ValueError(f"{cls.__name__} cannot be trained on several ranks: {NO_GRADIENTS[cls.__name__]}")
    target_kl = getattr(model, "target_kl", None)
    if target_kl is not None:
        raise ValueError(
            f"target_kl={target_kl!r}: each rank would stop its epochs at another batch; use target_kl=None and fewer "
            "epochs"
        )
    frequency: Any = model.train_freq if isinstance(model, OffPolicyAlgorithm) else None
    if getattr(frequency, "unit", None) == TrainFrequencyUnit.EPISODE:
        raise ValueError(
            f"train_freq=({frequency.frequency}, 'episode'): episodes end at other steps on each rank; "
            "use steps, for example train_freq=(1, 'step')"
        )
    if model.get_vec_normalize_env() is not None:
        raise ValueError(
            "VecNormalize would normalise differently on each rank; use a policy that normalises observations itself, "
            "as the spiking ones do"
        )
