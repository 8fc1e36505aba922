"""Sets of observations: a bounded sample of many, random ones, and the memory that they take."""

import math

import numpy as np
from gymnasium import spaces

from sb3_spiking.errors import Argument, InputError
from sb3_spiking.observations import Observation, concatenate, features_shape, length, rows

MAX_BYTES = 2**32
"""Limit of a set of observations."""
GOLDEN_RATIO = 0.6180339887498949


def check_states(space: spaces.Space, states: int) -> None:
    """
    Check that observations fit into memory, before it is filled.

    :param space: observation space
    :param states: number of observations
    :raises ValueError: if they would take more than ``MAX_BYTES``
    """
    one = math.prod(features_shape(space)) * np.dtype(np.float32).itemsize
    if states * one > MAX_BYTES:
        raise InputError(
            Argument("states", states),
            f" of {one} bytes each would take {states * one / 2**30:.3g} GiB of memory; "
            f"at most {MAX_BYTES // one} of them are collected",
        )


class ObservationSample:
    """
    An even sample of a stream of observations, in bounded memory.

    :param size: minimum number of observations once there were as many batches; at most twice as many are kept
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Observation] = []
        self._calls = 0
        self._every = 1

    def add(self, observations: Observation) -> None:
        """
        Keep one observation of a batch, or none.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        """
        if self._calls % self._every == 0:
            # Multiples of the golden ratio stay even when every second one is dropped; those of a counter do not.
            row = int(self._calls * GOLDEN_RATIO % 1.0 * length(observations))
            self._kept.append(rows(observations, slice(row, row + 1)))
        self._calls += 1
        if len(self._kept) == 2 * self._size:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def observations(self) -> Observation:
        """Return the sample as one batch."""
        return concatenate(self._kept)


def random_observations(space: spaces.Space, states: int, seed: int) -> Observation:
    """
    Draw observations from their space, where no environment is known.

    A bound beyond a million counts as none: such entries are drawn from a normal distribution.

    :param space: observation space
    :param states: number of observations
    :param seed: seed of the draws
    :return: ``[states, *shape]``, or a dict of such arrays
    :raises ValueError: if they would take more than ``MAX_BYTES``
    """
    check_states(space, states)
    if isinstance(space, spaces.Dict):
        entries = enumerate(space.spaces.items(), seed)  # With one seed, entries of one shape would be equal.
        return {name: np.asarray(random_observations(entry, states, own)) for own, (name, entry) in entries}
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        space = spaces.Box(
            np.where(low < -1e6, -np.inf, low).astype(space.dtype),
            np.where(high > 1e6, np.inf, high).astype(space.dtype),
            dtype=space.dtype,
        )
    space.seed(seed)
    return np.stack([np.asarray(space.sample()) for _ in range(states)])
