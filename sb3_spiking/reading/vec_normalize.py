"""Statistics in a file of SB3's ``VecNormalize``, read as data: nothing that the file names is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_spiking.reading.archive import CheckpointError
from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.inert_pickles import Construction, InertPickle, Name
from sb3_spiking.reading.regular_files import read_file
from sb3_spiking.reading.saved_arrays import pickled_array, pickled_number
from sb3_spiking.reading.saved_spaces import MAX_FEATURES

MAX_BYTES = 2**28
"""Bytes of the file, which holds the last observations too."""
PACKAGES = ("stable_baselines3", "gymnasium", "gym", "numpy", "collections")
"""Packages that the files name, with the spaces and random generators of their environments."""

Moments = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class NormalizationStatistics:
    """
    Statistics that normalise observations.

    :param mean: mean of the observations, of each normalised entry of a Dict; finite
    :param var: variance of the observations, finite and >= 0
    :param epsilon: constant added to the variance, finite and >= 0; > 0 where a variance is 0
    :param clip_obs: largest absolute value after normalisation, > 0
    :raises ValueError: if a value would make all observations alike or NaN
    """

    mean: Moments
    var: Moments
    epsilon: float
    clip_obs: float

    def __post_init__(self) -> None:
        if not self.clip_obs > 0.0:
            raise ValueError(f"clip_obs={self.clip_obs} must be > 0")
        if not 0.0 <= self.epsilon < np.inf:
            raise ValueError(f"epsilon={self.epsilon} must be finite and >= 0")
        if not all(np.isfinite(mean).all() for mean in _arrays(self.mean)):
            raise ValueError("mean has values that are NaN or infinite")
        for var in _arrays(self.var):
            if not (np.isfinite(var) & (var >= 0.0) & (var + self.epsilon > 0.0)).all():
                raise ValueError("var has values that are NaN, infinite or negative, or 0 without an epsilon")

    def fits(self, space: spaces.Space) -> bool:
        """Return whether the statistics have the shapes of an observation space."""
        if isinstance(self.mean, dict):
            return isinstance(space, spaces.Dict) and _shapes(self.mean).items() <= _shapes(space.spaces).items()
        return isinstance(space, spaces.Box) and self.mean.shape == space.shape

    def normalize(self, env: VecEnv) -> VecNormalize:
        """
        Wrap an environment in SB3's ``VecNormalize`` with frozen statistics, for observations only.

        :raises ValueError: if the statistics are of other observations
        """
        space = env.observation_space
        if not self.fits(space):
            own = _shapes(getattr(space, "spaces", space))
            raise ValueError(f"the statistics have shape {_shapes(self.mean)}, the observations {own}")
        keys = list(self.mean) if isinstance(self.mean, dict) else None
        options = {"clip_obs": self.clip_obs, "epsilon": self.epsilon, "norm_obs_keys": keys}
        wrapped = VecNormalize(env, training=False, norm_reward=False, **options)  # type: ignore[arg-type]
        if isinstance(self.mean, dict) and isinstance(self.var, dict):
            wrapped.obs_rms = {key: _running(mean, self.var[key]) for key, mean in self.mean.items()}
        else:
            wrapped.obs_rms = _running(self.mean, self.var)  # type: ignore[assignment] # as SB3 does itself
        return wrapped


def read_vec_normalize(path: Path) -> NormalizationStatistics | None:
    """
    Read the statistics in a file of ``VecNormalize.save``, None where only rewards were normalised.

    :raises CheckpointError: if the file is missing, of another kind, names other packages or has no valid statistics
    """
    try:
        pickled = InertPickle(read_file(path, MAX_BYTES))
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    foreign = [name for name in pickled.names if name.module.partition(".")[0] not in PACKAGES]
    if foreign:
        raise CheckpointError(
            f"{path} wants to import {foreign[0]}, as no VecNormalize does; nothing of it was executed"
        )
    try:
        return _statistics(pickled.value)
    except Exception as error:  # an untrusted file may fail in any way
        raise CheckpointError(f"{path} is no file of VecNormalize: {pickled.problem or error}") from error


def _statistics(value: Any) -> NormalizationStatistics | None:
    match value:
        case Construction(Name(_, "VecNormalize"), state={"norm_obs": False}):
            return None
        case Construction(Name(_, "VecNormalize"), state={"obs_rms": rms, "epsilon": epsilon, "clip_obs": clip_obs}):
            numbers = Budget(2 * MAX_FEATURES, "numbers of statistics")
            mean, var = _moments(rms, "mean", numbers), _moments(rms, "var", numbers)
        case _:
            raise ValueError("there are no statistics of observations in it")
    if _shapes(mean) != _shapes(var):
        raise ValueError(f"mean has shape {_shapes(mean)}, var {_shapes(var)}")
    return NormalizationStatistics(mean, var, _real("epsilon", epsilon), _real("clip_obs", clip_obs))


def _moments(rms: Any, name: str, numbers: Budget) -> Moments:
    if isinstance(rms, dict):
        return {key: pickled_array(part.state[name], numbers) for key, part in rms.items()}
    return pickled_array(rms.state[name], numbers)


def _real(name: str, value: Any) -> float:
    number = pickled_number(value)
    if number is None or isinstance(number, bool):
        raise ValueError(f"{name} is no number")
    return float(number)


def _arrays(moments: Moments) -> list[np.ndarray]:
    return list(moments.values()) if isinstance(moments, dict) else [moments]


def _shapes(parts: Any) -> Any:
    return {key: part.shape for key, part in parts.items()} if isinstance(parts, dict) else parts.shape


def _running(mean: Any, var: Any) -> RunningMeanStd:
    running = RunningMeanStd()
    running.mean, running.var = mean, var
    return running
