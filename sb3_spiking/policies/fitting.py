"""Observation statistics fitted to a data set, before the first training step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from sb3_spiking.policies.moments import check_moments, moments_of
from sb3_spiking.policies.normalization import RunningNormExtractor


def fit_normalization(policy: BasePolicy, observations: Any) -> None:
    """
    Set the observation statistics of a policy, its critics and its targets.

    :param policy: policy that normalises vectors
    :param observations: see [`fit_normalization`][sb3_spiking.policies.common.SpikingPolicy.fit_normalization]
    :raises ValueError: if the policy normalises nothing, or the observations do not fit; no statistics change then
    """
    extractors = {path: module for path, module in policy.named_modules() if isinstance(module, RunningNormExtractor)}
    if not extractors:
        raise ValueError(
            f"this {type(policy).__name__} normalises no observations (normalize_observations=False, an extractor of "
            "your own, or images and one-hot observations alone): there is nothing to fit"
        )
    space = policy.observation_space
    if not isinstance(space, spaces.Dict):
        batch = _batch("observations", observations, space)
        batches = dict.fromkeys(extractors, batch)
    else:
        # Each entry's extractor is stored under the entry's name.
        entries = {path: path.rpartition(".")[2] for path in extractors}
        _check_entries(observations, space, set(entries.values()))
        batches = {
            path: _batch(f"observations[{name!r}]", observations[name], space[name]) for path, name in entries.items()
        }
    for path, extractor in extractors.items():
        extractor.fit(batches[path])


def _check_entries(observations: Any, space: spaces.Dict, needed: set[str]) -> None:
    if not isinstance(observations, Mapping):
        raise ValueError(
            f"observations must be a dict with a batch for each entry, not {type(observations).__name__}; the "
            f"observation space has {', '.join(map(repr, space.spaces))}"
        )
    missing, unknown = sorted(needed - set(observations)), sorted(set(observations) - set(space.spaces))
    if missing or unknown:
        raise ValueError(f"observations do not fit the observation space: missing {missing}, unknown {unknown}")


def _batch(name: str, values: Any, space: spaces.Space) -> th.Tensor:
    """
    Convert observations to a batch of vectors, float64 ``[N, size]``.

    :param name: name of the argument, for the error
    :param values: observations, ``[..., *shape]``
    :param space: space of one observation
    :raises ValueError: if the shape does not fit, there are less than two, or a value is not a finite number
    """
    shape = space.shape or ()
    try:
        array = np.asarray(values.detach().cpu() if isinstance(values, th.Tensor) else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers, [N, {', '.join(map(str, shape))}]: {error}") from error
    leading = array.ndim - len(shape)
    if leading < 1 or array.shape[leading:] != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must be a batch of raw observations, (N, *{shape})")
    batch = th.as_tensor(array.reshape(-1, int(np.prod(shape))))
    if len(batch) < 2:
        raise ValueError(f"{name} holds {len(batch)} observations; a deviation needs at least 2")
    finite = th.isfinite(batch.float()).all(dim=0)
    if not finite.all():
        dimensions = ", ".join(map(str, (~finite).nonzero().flatten().tolist()))
        raise ValueError(f"{name} hold NaN or infinity (in float32) in dimension {dimensions}")
    check_moments(batch, *moments_of(batch))
    return batch
