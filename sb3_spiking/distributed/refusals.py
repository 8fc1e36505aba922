"""What cannot be right on several ranks: refused before the first step, with the reason."""

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFrequencyUnit

NO_GRADIENTS = {
    "TRPO": "it does not learn by an optimiser's steps, and its line search would stop at another place on each rank",
    "ARS": "it does not learn by gradients",
}


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
