import json

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from sb3_spiking.conversion import compare, convert
from sb3_spiking.conversion import network as converted_network
from sb3_spiking.conversion import report as reports
from sb3_spiking.conversion.agreement import agreement_of
from sb3_spiking.conversion.dense import DenseNetwork
from sb3_spiking.conversion.policy import DenseQPolicy
from sb3_spiking.conversion.report import compare_on_states
from sb3_spiking.snn.operations import CostModel, cost_of
from tests.conversion.agents import CODINGS, SPACES, VECTOR, Random, balancing, converted, dqn, observations

TOP_LEVEL = {"agreement", "dqn_return", "snn_return", "time_steps", "coding"}


@pytest.fixture(scope="module")
def cartpole():
    """Return a DQN, and a spiking policy of few steps that often decides otherwise."""
    teacher = balancing()
    return teacher, convert(teacher, env="CartPole-v1", states=200, method="rate", time_steps=2)


@pytest.fixture(scope="module")
def report(cartpole):
    """Return how they compare."""
    return compare(*cartpole, "CartPole-v1", episodes=5, seed=3)


def random_env():
    return Monitor(Random())


def test_agreement_by_hand():
    # The Q-values have mean 2 and standard deviation 1.75. The third decision costs 1 of them, the fourth 4.
    ours = np.array([[0.0, 4.0], [0.0, 4.0], [1.5, 2.5], [0.0, 4.0]], np.float32)
    snn = np.array([[0.0, 4.0], [1.0, 3.0], [2.5, 1.5], [4.0, 0.0]], np.float32)
    spikes = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0]], np.float32)
    found = agreement_of(ours, snn, spikes, cheap_gap=0.6)
    assert (found.decisions, found.agreement, found.spikes_agreement) == (4, 0.5, 0.75)
    assert found.q_error == pytest.approx(np.sqrt((0 + 2 + 2 + 32) / 8) / 1.75)
    assert found.action_gap == pytest.approx(4 / 1.75)
    assert found.cheap_disagreements == 0.5
    assert agreement_of(ours, snn, spikes, cheap_gap=0.5).cheap_disagreements == 0.0


def test_the_gap_is_that_of_the_best_two_of_many_actions():
    ours = np.array([[9.0, 1.0, 8.0, 0.0], [0.0, 2.0, 5.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    assert agreement_of(ours, ours, ours).action_gap == pytest.approx(1.0 / ours.std())


def test_nothing_disagrees_with_itself():
    values = np.random.default_rng(0).normal(size=(50, 3))
    found = agreement_of(values, values, values)
    assert (found.agreement, found.spikes_agreement, found.q_error) == (1.0, 1.0, 0.0)
    assert found.cheap_disagreements is None


@pytest.mark.parametrize("values", [np.zeros((3, 2)), np.ones((3, 1)), np.array([[1.0, 2.0]])])
def test_equal_q_values_single_actions_and_single_decisions_are_no_trouble(values):
    found = agreement_of(values, values + 1.0, values)
    assert found.agreement == 1.0
    assert np.isfinite([found.q_error, found.action_gap]).all()


def test_q_values_may_be_large():
    ours = np.random.default_rng(0).normal(1e4, 1.0, (100, 2)).astype(np.float32)
    found = agreement_of(ours, ours + np.float32(0.5), ours)
    assert found.q_error == pytest.approx(0.5, rel=0.1)


def test_the_json_has_what_others_look_for(report):
    content = json.loads(report.to_json())
    assert content.keys() >= TOP_LEVEL
    assert (content["coding"], content["time_steps"], content["latency"]) == ("rate", 2, 2)
    assert content["agreement"] == content["decisions"]["agreement"] == report.agreement
    assert tuple(content["snn_returns"]) == report.snn_returns
    assert content["snn_return"] == pytest.approx(np.mean(report.snn_returns))
    assert content["dqn_return"] == pytest.approx(np.mean(report.dqn_returns))
    assert content["cost"]["synops"] == report.cost.synops


def test_every_coding_has_a_json():
    env = DummyVecEnv([random_env] * 2)
    for coding in CODINGS:
        snn, teacher = converted(method=coding, time_steps=np.int64(4))
        content = json.loads(compare(teacher, snn, env, episodes=1).to_json())
        assert content["time_steps"] == 4


def test_agreement_is_that_on_the_states_the_spiking_policy_met(cartpole, report):
    teacher, snn = cartpole
    met = []
    env = make_vec_env("CartPole-v1", 1)
    for seed in range(3, 8):
        env.seed(seed)
        observation, done = env.reset(), [False]
        while not done[0]:
            met.append(observation)
            observation, _, done, _ = env.step(snn.predict(observation, deterministic=True)[0])
    met = np.concatenate(met)
    expected = (teacher.predict(met)[0] == snn.predict(met)[0]).mean()
    assert 0.0 < expected < 1.0
    assert report.agreement == pytest.approx(expected)
    assert report.decisions.decisions == len(met) == sum(report.snn_returns)


def test_both_play_the_same_episodes(cartpole, report):
    teacher, _ = cartpole
    same = compare(teacher, convert(teacher, env="CartPole-v1", states=50, time_steps=14), "CartPole-v1", 5, seed=3)
    assert same.agreement == 1.0
    assert same.snn_returns == same.dqn_returns == report.dqn_returns
    assert report.snn_returns != report.dqn_returns
    other = compare(teacher, cartpole[1], "CartPole-v1", 5, seed=30)
    assert other.dqn_returns != report.dqn_returns


def test_environments_that_are_there_are_used_and_left_open(cartpole, report):
    env = make_vec_env("CartPole-v1", 2, seed=77)
    assert compare(*cartpole, env, episodes=5, seed=3).snn_returns == report.snn_returns
    env.reset()


def test_a_single_environment_is_wrapped_as_sb3_does(cartpole, report):
    assert compare(*cartpole, gym.make("CartPole-v1"), episodes=5, seed=3).snn_returns == report.snn_returns


@pytest.mark.parametrize("env", [None, 3, gym.Env])
def test_what_is_no_environment_is_named(cartpole, env):
    with pytest.raises(ValueError, match=r"env=.* must be an environment, its id or its recipe"):
        compare(*cartpole, env, episodes=1)


def test_random_actions_do_not_count_as_disagreements():
    snn, teacher = converted(time_steps=14)
    found = compare(teacher, snn, DummyVecEnv([random_env] * 4), episodes=8, epsilon=1.0)
    assert found.agreement == 1.0
    assert found.dqn_returns == found.snn_returns


def test_costs_are_those_of_the_states_met():
    snn, teacher = converted(method="rate", time_steps=4)
    found = compare(teacher, snn, DummyVecEnv([random_env]), episodes=3)
    met = []
    env = DummyVecEnv([random_env])
    for seed in range(3):
        env.seed(seed)
        observation, done = env.reset(), [False]
        while not done[0]:
            met.append(observation)
            observation, _, done, _ = env.step(snn.predict(observation, deterministic=True)[0])
    expected = cost_of(snn.record(np.concatenate(met)))
    assert found.cost.synops == pytest.approx(expected.synops)
    assert found.cost.spikes == pytest.approx(expected.spikes)
    assert found.cost.macs == 4 * 16
    assert found.cost.dense_macs == 4 * 16 + 16 * 12 + 12 * 3


def test_costs_are_those_of_whole_episodes_and_not_of_their_beginning(monkeypatch):
    class Brightening(Random):
        """Nothing to see in the first half of an episode; a spike of one pixel later."""

        def see(self):
            return np.full(4, float(self.steps > 20), np.float32)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.see(), {}

        def step(self, action):
            self.steps += 1
            return self.see(), 0.0, self.steps == 40, False, {}

    monkeypatch.setattr(reports, "MAX_RECORDED", 8)
    snn, teacher = converted()
    found = compare(teacher, snn, DummyVecEnv([lambda: Monitor(Brightening())] * 5), episodes=5)
    dark, bright = (cost_of(snn.record(np.full((1, 4), value, np.float32))) for value in (0.0, 1.0))
    share = (found.cost.synops - dark.synops) / (bright.synops - dark.synops)
    assert share == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("coding", CODINGS)
def test_costs_in_parts_are_those_of_the_whole(monkeypatch, coding):
    snn, _ = converted(method=coding, time_steps=6)
    batch = observations(n=23)
    whole = cost_of(snn.record(batch))
    monkeypatch.setattr(converted_network, "MAX_VALUES", 500)
    parts = snn.cost(batch)
    assert parts.firing_rates == pytest.approx(whole.firing_rates)
    for name in ("spikes", "synops", "macs", "dense_macs", "mean_firing_rate"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))


def test_spikes_of_minus_one_are_accumulates():
    # 0.5 in ternary digits is 1, -1, 1, -1 to two outputs; the observation is multiplied by one weight.
    layers = [nn.Linear(1, 1), nn.Linear(1, 2)]
    for layer, weights in zip(layers, ([[1.0]], [[1.0], [2.0]]), strict=True):
        layer.weight.data = th.tensor(weights)
        layer.bias.data.zero_()
    space = type(VECTOR)(-1.0, 1.0, (1,))
    teacher = DenseQPolicy(DenseNetwork(layers), space, Random(n_actions=2).action_space)
    snn = convert(teacher, np.array([[1.0]], np.float32), time_steps=4, threshold="max")
    model = CostModel("a unit each", joules_per_mac=100.0, joules_per_synop=1.0)
    found = compare_on_states(teacher, snn, np.array([[0.5]], np.float32), model)
    assert (found.cost.spikes, found.cost.synops, found.cost.macs) == (4, 8, 1)
    assert (found.snn_joules, found.dqn_joules) == (108.0, 300.0)


def test_without_an_environment_there_are_no_returns():
    snn, teacher = converted(SPACES["dict"])
    found = compare_on_states(teacher, snn, observations(SPACES["dict"], n=300))
    assert (found.dqn_return, found.snn_return, found.dqn_returns) == (None, None, ())
    assert found.decisions.decisions == 300
    assert json.loads(found.to_json())["dqn_return"] is None
    assert "return" not in str(found)


@pytest.mark.parametrize("kind", ["dict", "image", "discrete"])
def test_every_kind_of_observation_is_compared(kind):
    snn, teacher = converted(SPACES[kind])
    env = DummyVecEnv([lambda: Monitor(Random(SPACES[kind]))] * 2)
    found = compare(teacher, snn, env, episodes=3)
    assert found.decisions.decisions == 30
    assert found.agreement > 0.9


def test_the_table_says_what_the_report_does(report):
    text = str(report)
    assert text == "\n".join(line.rstrip() for line in text.split("\n"))
    assert "SNN (rate)" in text.split("\n")[0]
    assert f"{100 * report.agreement:.2f} %" in text
    assert f"{report.snn_return:.1f} +- {np.std(report.snn_returns):.1f}" in text
    assert len(report.rows()) == len(text.split("\n")) - 1
    assert all(character.isascii() for character in text)


def test_a_models_file_serves_as_the_dqn(tmp_path):
    model = dqn()
    model.save(tmp_path / "dqn.zip")
    snn = convert(tmp_path / "dqn.zip", observations())
    env = DummyVecEnv([random_env])
    assert compare(tmp_path / "dqn.zip", snn, env, 2).dqn_returns == compare(model, snn, env, 2).dqn_returns


def test_every_episode_is_told_as_it_ends():
    snn, teacher = converted()
    told = []
    compare(teacher, snn, DummyVecEnv([random_env] * 2), episodes=3, progress=lambda: told.append(1))
    assert len(told) == 6


@pytest.mark.parametrize("episodes", [0, -1, 2.5])
def test_there_must_be_an_episode(episodes):
    snn, teacher = converted()
    with pytest.raises(ValueError, match="episodes"):
        compare(teacher, snn, DummyVecEnv([random_env]), episodes=episodes)


def test_an_environment_of_others_is_refused():
    snn, teacher = converted()
    with pytest.raises(ValueError, match="does not fit the agent"):
        compare(teacher, snn, DummyVecEnv([lambda: Random(n_actions=2)]))


def test_statistics_that_learn_are_frozen_during_the_episodes(cartpole):
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1", max_episode_steps=9)]))
    env.reset()
    count = env.obs_rms.count
    played = compare(*cartpole, env, episodes=2)
    assert all(each == round(each) for each in played.dqn_returns)  # rewards of 1, not normalised
    assert env.obs_rms.count == count
    assert (env.training, env.norm_reward) == (True, True)
