import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import ClipRewardEnv, EpisodicLifeEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_spiking.conversion import convert, load_dqn
from sb3_spiking.evaluation.rollout import collect, play
from sb3_spiking.evaluation.states import random_observations
from tests.conversion.agents import SPACES, Random, balancing, converted, dqn


class Lives(gym.Env):
    """A game of three lives, each of some steps that depend on the seed; every step is worth 10 points."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self):
        self.ale = self

    def lives(self):
        return self.left

    def see(self):
        return np.array([self.length, self.steps, self.left, 1.0], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left, self.steps = 3, 0
        self.length = int(self.np_random.integers(3, 9))
        return self.see(), {}

    def step(self, action):
        self.steps += 1
        if self.steps % self.length == 0:
            self.left -= 1
        return self.see(), 10.0, self.left == 0, False, {}


def atari_like():
    """Return it as SB3 makes Atari games: an agent sees lives and signs of rewards, the monitor games and scores."""
    return ClipRewardEnv(EpisodicLifeEnv(Monitor(Lives())))


def score(seed):
    """Return what a game on this seed is worth; a life lost costs a step, which no agent sees."""
    env = Lives()
    env.reset(seed=seed)
    return 10.0 * 3 * env.length


@pytest.mark.parametrize("coding", ["ternary", "residual"])
def test_an_episode_depends_on_its_seed_and_not_on_the_others(coding):
    cartpole = balancing()
    snn = convert(cartpole, env="CartPole-v1", states=100, method=coding)
    returns = {
        n_envs: list(play(snn, make_vec_env("CartPole-v1", n_envs, seed=99), 9, seed=5)) for n_envs in (1, 4, 9, 20)
    }
    assert returns[1] == returns[4] == returns[9] == returns[20]
    assert len(set(returns[1])) > 1
    assert list(play(snn, make_vec_env("CartPole-v1", 3), 4, seed=7)) == returns[1][2:6]


def test_an_episode_does_not_depend_on_what_was_played_before():
    cartpole = balancing()
    env = make_vec_env("CartPole-v1", 4)
    first, second = (list(play(cartpole, env, 6, seed=5)) for _ in range(2))
    assert first == second


def test_without_a_monitor_rewards_are_added_up():
    cartpole = balancing()
    plain = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 3)
    assert list(play(cartpole, plain, 5, seed=1)) == list(play(cartpole, make_vec_env("CartPole-v1", 2), 5, seed=1))


@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_life_lost_is_no_end_and_clipped_rewards_do_not_count(n_envs):
    env = DummyVecEnv([atari_like] * n_envs)
    policy, _ = converted(Lives.observation_space)
    expected = [score(seed) for seed in range(7)]
    assert len(set(expected)) > 2
    # A game whose last life ends in the step that SB3's wrapper takes on its own would be lost to everybody.
    assert list(play(policy, env, 7, seed=0)) == expected


def test_games_that_others_left_unfinished_are_not_gone_on_with():
    # SB3's wrapper resets after the last life only: the next agent would begin in the middle of a game.
    env = DummyVecEnv([atari_like] * 3)
    policy, _ = converted(Lives.observation_space)
    first, second = (list(play(policy, env, 4, seed=0)) for _ in range(2))
    assert first == second == [score(seed) for seed in range(4)]
    assert collect(policy, env, 3, seed=2)[:, 1:].tolist() == [[0.0, 3.0, 1.0]] * 3


def test_that_reaches_environments_in_other_processes():
    env = SubprocVecEnv([atari_like] * 2, start_method="fork")
    policy, _ = converted(Lives.observation_space)
    try:
        assert list(play(policy, env, 3, seed=0)) == [score(seed) for seed in range(3)]
    finally:
        env.close()


def test_a_watcher_sees_the_decisions_of_the_episodes_that_count():
    policy, seen = converted()[0], []
    env = DummyVecEnv([lambda: Monitor(Random())] * 4)
    list(play(policy, env, 6, seed=3, watch=lambda met, values: seen.append((met, values))))
    assert [len(met) for met, _ in seen] == [4] * 10 + [2] * 10
    for met, values in seen:
        np.testing.assert_allclose(values, policy.q_values(met)[0], atol=1e-6)


def test_a_watcher_sees_entries_of_a_dict():
    policy, seen = converted(SPACES["dict"])[0], []
    env = DummyVecEnv([lambda: Random(SPACES["dict"])] * 3)
    list(play(policy, env, 2, seed=3, watch=lambda met, values: seen.append((met, values))))
    assert {name: entry.shape for name, entry in seen[0][0].items()} == {"a": (2, 2, 2), "b": (2,), "c": (2, 2)}


def test_the_state_begins_anew_with_every_episode():
    policy, _ = converted(method="residual", time_steps=4, alpha=1.0)
    first = []
    env = DummyVecEnv([lambda: Monitor(Random())] * 2)
    for seed in (3, 4):
        seen = []
        list(play(policy, env, 2, seed, watch=lambda met, values, seen=seen: seen.append((met, values))))
        first.append(seen)
    (_, values), (met, _) = first[0][0], first[0][1]
    np.testing.assert_allclose(values, policy.q_values(first[0][0][0])[0], atol=1e-6)
    assert np.abs(first[0][1][1] - policy.q_values(met)[0]).max() > 1e-3  # the second decision does carry
    np.testing.assert_allclose(first[1][0][1], policy.q_values(first[1][0][0])[0], atol=1e-6)


def test_random_actions_repeat_under_a_seed():
    policy, _ = converted()
    env = DummyVecEnv([lambda: Monitor(Random())] * 2)
    greedy, first, second, other = (
        list(play(policy, env, 4, seed, epsilon)) for seed, epsilon in ((1, 0.0), (1, 0.5), (1, 0.5), (2, 0.5))
    )
    assert first == second
    assert first not in (greedy, other)


class Endless(Random):
    """Every other episode does not end."""

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.ends = seed is None or seed % 2 == 0
        return observation, info

    def step(self, action):
        observation, _, _, truncated, info = super().step(action)
        return observation, 1.0, False, truncated and self.ends, info


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("monitored", [True, False])
def test_an_episode_that_does_not_end_is_cut_and_told(n_envs, monitored):
    policy, cut = converted()[0], []
    env = DummyVecEnv([lambda: Monitor(Endless()) if monitored else Endless()] * n_envs)
    assert list(play(policy, env, 4, seed=0, max_steps=25, cut=cut.append)) == [10.0, 25.0, 10.0, 25.0]
    assert cut == [25, 25]
    # At the limit exactly, an episode is whole.
    assert list(play(policy, env, 1, seed=0, max_steps=10, cut=cut.append)) == [10.0]
    assert cut == [25, 25]
    with pytest.warns(UserWarning, match="did not end within 12 steps and was cut"):
        list(play(policy, env, 2, seed=0, max_steps=12))


@pytest.mark.parametrize("space", [SPACES["vector"], SPACES["dict"], SPACES["image"]])
def test_more_states_than_memory_holds_are_refused_before_they_are_collected(space):
    policy, _ = converted(space)
    env = DummyVecEnv([lambda: Random(space)])
    env.step_async = lambda actions: pytest.fail("it was played")
    for draw in (lambda: collect(policy, env, 10**12, seed=0), lambda: random_observations(space, 10**12, seed=0)):
        with pytest.raises(ValueError, match=r"states=1000000000000 of \d+ bytes each .* at most \d+ of them"):
            draw()


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("states", [1, 4, 10])
def test_as_many_states_are_collected_as_were_asked_for(n_envs, states):
    policy, told = converted()[0], []
    env = DummyVecEnv([Random] * n_envs)
    met = collect(policy, env, states, seed=1, progress=lambda: told.append(1))
    assert met.shape == (states, 4)
    assert len(np.unique(met[:, 0])) == states
    assert len(told) == states


@pytest.mark.parametrize("kind", SPACES)
def test_states_of_every_kind_are_collected_and_drawn(kind):
    policy, _ = converted(SPACES[kind])
    env = DummyVecEnv([lambda: Random(SPACES[kind])] * 2)
    for met in (collect(policy, env, 5, seed=1), random_observations(SPACES[kind], 5, seed=1)):
        assert policy.q_values(met)[0].shape == (5, 3)
        assert th.isfinite(policy.features(policy.obs_to_tensor(met)[0])).all()


def test_collecting_repeats_under_a_seed():
    cartpole = balancing()
    env = make_vec_env("CartPole-v1", 3)
    first, second, other = (collect(cartpole, env, 50, seed, epsilon=0.2) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_dqn_that_plays_is_the_dqn():
    model = dqn()
    env = DummyVecEnv([lambda: Monitor(Random())] * 2)
    policy, seen = load_dqn(model), []
    list(play(policy, env, 2, seed=3, watch=lambda met, values: seen.append((met, values))))
    for met, values in seen:
        np.testing.assert_array_equal(values.argmax(1), model.predict(met, deterministic=True)[0])
