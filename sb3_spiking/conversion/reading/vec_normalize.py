"""The statistics in a file of SB3's ``VecNormalize``, read as data: nothing that the file names is imported."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_spiking.conversion.reading.inert_pickles import InertPickle, Made, Name

PACKAGES = ("stable_baselines3", "gymnasium", "gym", "numpy", "collections")
"""What the files of every SB3 name, with the environment's spaces and random generators in them."""

Moments = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class NormalizationStatistics:
    """
    What normalises observations.

    :param mean: mean of the observations, of each normalised entry where they are a Dict
    :param var: their variance
    :param epsilon: added to the variance
    :param clip_obs: largest absolute value after normalisation
    """

    mean: Moments
    var: Moments
    epsilon: float
    clip_obs: float

    def fits(self, space: spaces.Space) -> bool:
        """
        Tell whether these are statistics of such observations.

        :param space: observation space
        :return: whether the shapes are equal
        """
        if isinstance(self.mean, dict):
            return isinstance(space, spaces.Dict) and _shapes(self.mean).items() <= _shapes(space.spaces).items()
        return isinstance(space, spaces.Box) and self.mean.shape == space.shape

    def normalize(self, env: VecEnv) -> VecNormalize:
        """
        Normalise an environment's observations, never the rewards; the statistics stay as they are.

        :param env: environment with raw observations
        :return: SB3's own wrapper
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
    Read what ``VecNormalize.save`` wrote, without executing anything.

    :param path: the file
    :return: statistics of the observations, None where only rewards were normalised
    :raises ValueError: if the file is not there, is none of ``VecNormalize``, or wants to import anything else
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    pickled = InertPickle(content)
    foreign = [name for name in pickled.names if name.module.partition(".")[0] not in PACKAGES]
    if foreign:
        raise ValueError(f"{path} wants to import {foreign[0]}, as no VecNormalize does; nothing of it was executed")
    try:
        return _statistics(pickled.value)
    except Exception as error:  # a hostile file can fail in any way
        raise ValueError(f"{path} is no file of VecNormalize: {pickled.problem or error}") from error


def _statistics(value: Any) -> NormalizationStatistics | None:
    match value:
        case Made(Name(_, "VecNormalize"), state={"norm_obs": False}):
            return None
        case Made(Name(_, "VecNormalize"), state={"obs_rms": rms, "epsilon": epsilon, "clip_obs": clip_obs}):
            mean, var = _moments(rms, "mean"), _moments(rms, "var")
        case _:
            raise ValueError("there are no statistics of observations in it")
    if _shapes(mean) != _shapes(var):
        raise ValueError(f"mean has shape {_shapes(mean)}, var {_shapes(var)}")
    return NormalizationStatistics(mean, var, float(_array(epsilon)), float(_array(clip_obs)))


def _moments(rms: Any, name: str) -> Moments:
    if isinstance(rms, dict):
        return {key: _array(part.state[name]) for key, part in rms.items()}
    return _array(rms.state[name])


def _array(value: Any) -> np.ndarray:
    match value:
        case Made(Name(_, "_reconstruct"), state=(_, shape, dtype, fortran, data)):
            return _numbers(data, dtype, shape, "F" if fortran else "C")
        case Made(Name(_, "_frombuffer"), (data, dtype, shape, order)):  # since pickle's protocol 5
            return _numbers(data, dtype, shape, order)
        case Made(Name(_, "scalar"), (dtype, data)):
            return _numbers(data, dtype, (), "C")
    return np.asarray(value, dtype=np.float64)


def _numbers(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(data, _dtype(dtype)).reshape(shape, order=order).copy()


def _dtype(value: Any) -> np.dtype:
    match value:
        case Made(Name("numpy", "dtype"), (str(code), *_), (_, str(byte_order), *_)) if re.fullmatch(r"[fiu]\d", code):
            return np.dtype(byte_order + code)
    raise ValueError("values that are no plain numbers")


def _shapes(parts: Any) -> Any:
    return {key: part.shape for key, part in parts.items()} if isinstance(parts, dict) else parts.shape


def _running(mean: Any, var: Any) -> RunningMeanStd:
    running = RunningMeanStd()
    running.mean, running.var = mean, var
    return running
