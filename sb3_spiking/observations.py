"""Batches of observations: an array, or a dict of arrays for Dict spaces."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

Observation = np.ndarray | dict[str, np.ndarray]
"""Observations as environments give them: ``[N, *shape]``, or one such array for each entry of a Dict."""


def each_entry(observations: Any, function: Callable[[Any], Any]) -> Any:
    """
    Apply a function to an observation, or to each entry of a Dict.

    :param observations: arrays or tensors, or a dict of them
    :param function: function of one array
    :return: its results, in the same form
    """
    if isinstance(observations, dict):
        return {name: function(entry) for name, entry in observations.items()}
    return function(observations)


def rows(observations: Any, index: Any) -> Any:
    """
    Select some observations of a batch.

    :param observations: ``[N, *shape]``, or a dict of such arrays
    :param index: index of the first dimension: a slice, integers or a mask
    :return: the selected observations, in the same form
    """
    return each_entry(observations, lambda entry: entry[index])


def length(observations: Any) -> int:
    """Return the number of observations of a batch."""
    return len(next(iter(observations.values())) if isinstance(observations, dict) else observations)


def concatenate(batches: Sequence[Any]) -> Any:
    """
    Join batches of observations.

    :param batches: at least one batch, ``[N, *shape]`` or a dict of such arrays
    :return: one batch
    """
    if isinstance(batches[0], dict):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return np.concatenate(batches)


def features_shape(space: spaces.Space) -> tuple[int, ...]:
    """
    Return the shape of one observation after SB3's preprocessing; several entries of a Dict are joined to a vector.

    :param space: observation space
    """
    match space:
        case spaces.Dict():
            entries = [features_shape(part) for part in space.spaces.values()]
            return entries[0] if len(entries) == 1 else (sum(map(math.prod, entries)),)
        case spaces.Discrete():
            return (int(space.n),)
        case spaces.MultiDiscrete():
            return (int(space.nvec.sum()),)
    return tuple(space.shape or ())


AS_IS = frozenset(map(np.dtype, ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8")))
"""Types of numbers that torch takes as they are, and rounds to float32 as NumPy does."""


def plain_rows(observation: object, shape: tuple[int, ...]) -> np.ndarray | None:
    """
    Copy one observation or a batch to rows of float32; what is too large for it becomes infinite, as in torch.

    :param observation: any object
    :param shape: shape of one observation
    :return: rows, contiguous, ``[N, D]``; None for what is no array of numbers of this shape
    """
    if type(observation) is not np.ndarray or observation.dtype not in AS_IS:
        return None
    if observation.shape == shape:
        rows = 1
    elif observation.shape[1:] == shape and len(observation) > 0:
        rows = len(observation)
    else:
        return None
    if observation.dtype == np.float32:
        return np.array(observation, order="C").reshape(rows, -1)
    with np.errstate(over="ignore"):
        return observation.astype(np.float32, order="C").reshape(rows, -1)
