"""Observations with the teacher's actions, in memory that is allocated once."""

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_spiking.errors import Argument, InputError
from sb3_spiking.evaluation.states import MAX_BYTES
from sb3_spiking.observations import Observation, each_entry, length, rows


class LabelledStates:
    """
    A growing data set.

    :param space: observation space
    :param size: number of observations in the end, >= 1
    :raises ValueError: if they would take more than ``states.MAX_BYTES``
    """

    def __init__(self, space: spaces.Space, size: int) -> None:
        one = _bytes(space)
        if size * one > MAX_BYTES:
            raise InputError(
                Argument("steps", size),
                f" states of {one} bytes each would take {size * one / 2**30:.3g} GiB of memory; at most "
                f"{MAX_BYTES // one} of them are kept",
            )
        self.size = size
        self.filled = 0
        self._observations: Any = None
        self._actions: Any = None

    def add(self, observations: Observation, actions: np.ndarray) -> None:
        """
        Add a batch; what is more than the size is left out.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :param actions: actions of the teacher, ``[N, *shape]``
        """
        if self._actions is None:
            self._observations = each_entry(observations, self._room)
            self._actions = self._room(actions)
        end = min(self.filled + length(observations), self.size)
        new = slice(end - self.filled)
        if isinstance(observations, dict):
            for name, entry in observations.items():
                self._observations[name][self.filled : end] = entry[new]
        else:
            self._observations[self.filled : end] = observations[new]
        self._actions[self.filled : end] = actions[new]
        self.filled = end

    def batch(self, index: Any) -> tuple[Observation, np.ndarray]:
        """
        Return some of the observations and their actions.

        :param index: indices below ``filled``, or a slice
        """
        return rows(self._observations, index), self._actions[index]

    def _room(self, batch: np.ndarray) -> np.ndarray:
        return np.empty((self.size, *batch.shape[1:]), batch.dtype)


def _bytes(space: spaces.Space) -> int:
    """Return the memory of one observation, of the type that the environment gives it."""
    if isinstance(space, spaces.Dict):
        return sum(map(_bytes, space.spaces.values()))
    return math.prod(space.shape or ()) * np.dtype(space.dtype).itemsize
