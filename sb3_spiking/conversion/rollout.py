"""Playing: episodes on given seeds, and the observations that an agent meets."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import EpisodicLifeEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, is_vecenv_wrapped

from sb3_spiking.conversion.policy import Observation, QPolicy, features_shape
from sb3_spiking.notices import warn

Watch = Callable[[Observation, np.ndarray], None]
"""Sees the observations of some decisions, ``[N, ...]``, and the policy's Q-values, ``[N, actions]``."""


MAX_STEPS = 100_000
"""Steps of an episode, for want of another limit: some environments never end one. A game of Atari has 27,000."""
MAX_BYTES = 2**32
"""Of the states that are collected."""


def warn_of_cut(steps: int) -> None:
    """
    Warn that an episode did not end.

    :param steps: after how many it was cut
    """
    warn(
        f"An episode did not end within {steps} steps and was cut: its return is what it had until then. "
        "max_steps= is the limit."
    )


def play(
    policy: QPolicy,
    env: VecEnv,
    episodes: int,
    seed: int,
    epsilon: float = 0.0,
    watch: Watch | None = None,
    max_steps: int = MAX_STEPS,
    cut: Callable[[int], Any] = warn_of_cut,
) -> Iterator[float]:
    """
    Play episodes; the i-th begins with seed ``seed + i``, however many environments there are.

    Where SB3's ``Monitor`` or ``VecMonitor`` is in the environment, an episode is what it takes for one, and the return
    is its: a life lost is no end, and clipped rewards are not counted.

    :param policy: who plays
    :param env: where; with several environments, as many episodes are played at a time
    :param episodes: how many
    :param seed: of the first
    :param epsilon: probability of a random action
    :param watch: is shown every decision
    :param max_steps: where an episode is cut that does not end
    :param cut: is told ``max_steps`` for each of these
    :return: the return of each episode, in their order; of one that was cut, the sum of its rewards until then
    """
    monitored = is_vecenv_wrapped(env, VecMonitor) or all(env.env_is_wrapped(Monitor))
    for first in range(0, episodes, env.num_envs):
        playing = np.arange(env.num_envs) < episodes - first
        returns = np.zeros(env.num_envs)
        _end_games(env)
        env.seed(seed + first)
        observations: Any = env.reset()
        state, starts = None, np.ones(env.num_envs, dtype=bool)
        policy.action_space.seed(seed + first)
        for _ in range(max_steps):
            if not playing.any():
                break
            values, state = policy.q_values(observations, state, starts)
            if watch is not None:
                watch(_rows(observations, playing), values[playing])
            observations, rewards, dones, infos = env.step(policy.choose(values, epsilon))
            starts = dones
            returns[playing] += rewards[playing]
            for index in np.flatnonzero(dones & playing):
                if not monitored or "episode" in infos[index]:
                    playing[index] = False
                    returns[index] = infos[index]["episode"]["r"] if monitored else returns[index]
        for _ in range(np.count_nonzero(playing)):
            cut(max_steps)
        yield from returns[: episodes - first].tolist()


def collect(
    policy: QPolicy,
    env: VecEnv,
    states: int,
    seed: int,
    epsilon: float = 0.0,
    progress: Callable[[int], Any] = lambda rows: None,
) -> Observation:
    """
    Return observations that a policy meets, from environments that never stop.

    :param policy: who plays
    :param env: where
    :param states: how many observations
    :param seed: of the environments
    :param epsilon: probability of a random action
    :param progress: is told the number of observations of every step
    :return: ``[states, *shape]``, or these of each entry of a Dict
    :raises ValueError: if they would take more than ``MAX_BYTES``
    """
    check_states(env.observation_space, states)
    _end_games(env)
    env.seed(seed)
    policy.action_space.seed(seed)
    observations: Any = env.reset()
    met = []
    for _ in range(0, states, env.num_envs):
        met.append(observations)
        progress(env.num_envs)
        values, _ = policy.q_values(observations)
        observations, *_ = env.step(policy.choose(values, epsilon))
    return _rows(concatenate(met), slice(states))


def check_states(space: spaces.Space, states: int) -> None:
    """
    Refuse to collect more states than memory holds, before it is filled.

    :param space: observation space
    :param states: how many
    :raises ValueError: if they would take more than ``MAX_BYTES``
    """
    one = math.prod(features_shape(space)) * np.dtype(np.float32).itemsize
    if states * one > MAX_BYTES:
        raise ValueError(
            f"states={states} of {one} bytes each would take {states * one / 2**30:.3g} GiB of memory; "
            f"at most {MAX_BYTES // one} of them are collected"
        )


class Sample:
    """
    Some of many observations, evenly over the episodes, in bounded memory.

    :param size: how many at least, once there were as many steps; twice as many at most
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Observation] = []
        self._calls = 0
        self._every = 1

    def add(self, observations: Observation) -> None:
        """
        Take one of several observations, or none.

        :param observations: ``[N, *shape]``, or these of each entry of a Dict
        """
        if self._calls % self._every == 0:
            entry = next(iter(observations.values())) if isinstance(observations, dict) else observations
            # The golden ratio's multiples stay even when every second one is dropped; a counter would favour some rows.
            row = int(self._calls * 0.6180339887498949 % 1.0 * len(entry))
            self._kept.append(_rows(observations, slice(row, row + 1)))
        self._calls += 1
        if len(self._kept) == 2 * self._size:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def observations(self) -> Observation:
        """Return what was kept, as one batch."""
        return concatenate(self._kept)


def concatenate(observations: Sequence[Any]) -> Observation:
    """
    Join batches of observations.

    :param observations: ``[N, *shape]``, or these of each entry of a Dict
    :return: one batch
    """
    if isinstance(observations[0], dict):
        return {name: np.concatenate([batch[name] for batch in observations]) for name in observations[0]}
    return np.concatenate(observations)


def sampled(space: spaces.Space, states: int, seed: int) -> Observation:
    """
    Return observations drawn from their space, for want of an environment.

    A bound beyond a million says that there is none: such entries are drawn from a normal distribution.

    :param space: observation space
    :param states: how many
    :param seed: of the draws
    :return: ``[states, *shape]``, or these of each entry of a Dict
    :raises ValueError: if they would take more than ``MAX_BYTES``
    """
    check_states(space, states)
    if isinstance(space, spaces.Dict):
        entries = enumerate(space.spaces.items(), seed)  # With one seed, entries of one shape would be equal.
        return {name: np.asarray(sampled(entry, states, entry_seed)) for entry_seed, (name, entry) in entries}
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        space = spaces.Box(
            np.where(low < -1e6, -np.inf, low).astype(space.dtype),
            np.where(high > 1e6, np.inf, high).astype(space.dtype),
            dtype=space.dtype,
        )
    space.seed(seed)
    return np.stack([np.asarray(space.sample()) for _ in range(states)])


def _end_games(env: VecEnv) -> None:
    """Make the next reset a reset: where a life lost ends an episode, SB3's wrapper would go on with the game."""
    if any(env.env_is_wrapped(EpisodicLifeEnv)):
        env.env_method("set_wrapper_attr", "was_real_done", True)


def _rows(observations: Any, rows: np.ndarray | slice) -> Observation:
    if isinstance(observations, dict):
        return {name: entry[rows] for name, entry in observations.items()}
    return observations[rows]
