"""Episodes on given seeds, and the observations that a policy meets."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import EpisodicLifeEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, is_vecenv_wrapped

from sb3_spiking.evaluation.states import check_states
from sb3_spiking.notices import warn
from sb3_spiking.observations import Observation, concatenate, rows

Watch = Callable[[Observation, np.ndarray], None]
"""Callback with the observations of some decisions, ``[N, ...]``, and the policy's scores, ``[N, ...]``."""

MAX_STEPS = 100_000
"""Default limit of an episode: some environments never end one. A game of Atari takes 27,000 steps."""


class Player(Protocol):
    """A policy that plays episodes."""

    @property
    def action_space(self) -> spaces.Space: ...

    def enter(self, env: VecEnv) -> None:
        """
        Prepare for an environment, which may mask actions.

        :param env: environment of the next decisions
        """

    def decide(self, observation: Any, state: Any, episode_start: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """
        Score the actions.

        :param observation: observations, ``[N, *shape]``
        :param state: state after the previous decisions; None at the start
        :param episode_start: mask of the first decisions of an episode, ``[N]``
        :return: Q-values, or actions where the policy has no Q-values; and the state
        """
        ...

    def choose(self, scores: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
        """
        Choose the best actions, or random ones.

        :param scores: scores of `decide`
        :param epsilon: probability of a random action
        :return: actions, ``[N, ...]``
        """
        ...


def warn_of_cut(steps: int) -> None:
    """
    Warn that an episode did not end.

    :param steps: number of steps until the cut
    """
    warn(
        f"An episode did not end within {steps} steps and was cut: its return is what it had until then. "
        "max_steps= is the limit."
    )


def play(
    policy: Player,
    env: VecEnv,
    episodes: int,
    seed: int,
    epsilon: float = 0.0,
    watch: Watch | None = None,
    max_steps: int = MAX_STEPS,
    cut: Callable[[int], Any] = warn_of_cut,
) -> Iterator[float]:
    """
    Play episodes; the i-th begins with seed ``seed + i``, whatever the number of environments.

    Where SB3's ``Monitor`` or ``VecMonitor`` wraps the environment, its episodes and its returns count: the loss of a
    life is no end, and rewards are not clipped.

    :param policy: playing policy
    :param env: environments; as many episodes are played at a time
    :param episodes: number of episodes
    :param seed: seed of the first episode
    :param epsilon: probability of a random action
    :param watch: function called with the observations and the scores of each decision
    :param max_steps: limit of an episode, in steps
    :param cut: function called with ``max_steps`` for each episode that was cut
    :return: return of each episode, in their order; of a cut one, the sum of its rewards until then
    """
    monitored = is_monitored(env)
    policy.enter(env)
    for first in range(0, episodes, env.num_envs):
        playing = np.arange(env.num_envs) < episodes - first
        returns = np.zeros(env.num_envs)
        end_games(env)
        env.seed(seed + first)
        observations: Any = env.reset()
        state, starts = None, np.ones(env.num_envs, dtype=bool)
        policy.action_space.seed(seed + first)
        for _ in range(max_steps):
            if not playing.any():
                break
            scores, state = policy.decide(observations, state, starts)
            if watch is not None:
                watch(rows(observations, playing), scores[playing])
            observations, rewards, starts, infos = env.step(policy.choose(scores, epsilon))
            returns[playing] += rewards[playing]
            for index in np.flatnonzero(starts & playing):
                if not monitored or "episode" in infos[index]:
                    playing[index] = False
                    returns[index] = infos[index]["episode"]["r"] if monitored else returns[index]
        for _ in range(np.count_nonzero(playing)):
            cut(max_steps)
        yield from returns[: episodes - first].tolist()


def collect(
    policy: Player,
    env: VecEnv,
    states: int,
    seed: int,
    epsilon: float = 0.0,
    progress: Callable[[], Any] = lambda: None,
) -> Observation:
    """
    Collect observations that a policy meets, over the ends of episodes.

    :param policy: playing policy
    :param env: environments
    :param states: number of observations
    :param seed: seed of the environments
    :param epsilon: probability of a random action
    :param progress: function called after each observation, without arguments
    :return: ``[states, *shape]``, or a dict of such arrays
    :raises ValueError: if they would take more than ``states.MAX_BYTES``
    """
    check_states(env.observation_space, states)
    policy.enter(env)
    end_games(env)
    env.seed(seed)
    policy.action_space.seed(seed)
    observations: Any = env.reset()
    met = []
    for first in range(0, states, env.num_envs):
        met.append(observations)
        for _ in range(min(env.num_envs, states - first)):
            progress()
        scores, _ = policy.decide(observations, None, None)
        observations, *_ = env.step(policy.choose(scores, epsilon))
    return rows(concatenate(met), slice(states))


def is_monitored(env: VecEnv) -> bool:
    """Return whether a monitor reports the ends and returns of episodes."""
    return is_vecenv_wrapped(env, VecMonitor) or all(env.env_is_wrapped(Monitor))


def end_games(env: VecEnv) -> None:
    """
    Make the next reset a full one: SB3's wrapper for lives would continue the game instead.

    :param env: environments
    """
    if any(env.env_is_wrapped(EpisodicLifeEnv)):
        env.env_method("set_wrapper_attr", "was_real_done", True)
