"""The notice that small networks train faster in one thread."""

import os
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO

from sb3_spiking import notices
from sb3_spiking.snn import threads
from tests.conftest import small_model

NOTICE = r"torch\.set_num_threads\(1\)"


@pytest.fixture
def by_default(monkeypatch):
    """Let torch compute in as many threads as there are cores, chosen by nobody."""
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    th.set_num_threads(2)
    notices.warn_once.cache_clear()
    yield
    notices.warn_once.cache_clear()
    th.set_num_threads(1)


class Pixels(gym.Env):
    """Images in which nothing happens."""

    observation_space, action_space = spaces.Box(0, 255, (1, 12, 12), np.uint8), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros((1, 12, 12), np.uint8), {}

    def step(self, action):
        return np.zeros((1, 12, 12), np.uint8), 0.0, False, True, {}


def noticed(action):
    """Return how often an action gives the notice."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return sum("set_num_threads" in str(warning.message) for warning in caught)


@pytest.mark.usefixtures("by_default")
def test_training_in_many_threads_is_told_once_in_a_process(env):
    model = small_model(env)
    with pytest.warns(UserWarning, match=NOTICE) as caught:
        model.learn(30)
    assert caught[0].filename == __file__
    assert noticed(lambda: model.learn(30, reset_num_timesteps=False)) == 0
    assert noticed(lambda: PPO("SpikingMlpPolicy", env, n_steps=8, batch_size=8).learn(8)) == 0


@pytest.mark.usefixtures("by_default")
def test_an_agent_that_only_acts_is_told_nothing(env):
    model = small_model(env)
    assert noticed(lambda: model.predict(env.reset(seed=0)[0])) == 0
    assert noticed(lambda: model.policy.set_training_mode(False)) == 0


@pytest.mark.usefixtures("by_default")
def test_convolutions_and_large_layers_may_want_more_threads(env):
    images = DQN("SpikingCnnPolicy", Pixels(), buffer_size=10, learning_starts=2, policy_kwargs={"net_arch": [8]})
    assert noticed(lambda: images.learn(8)) == 0
    large = small_model(env, policy_kwargs={"net_arch": {"pi": [8], "qf": [1024, 1024]}})
    assert noticed(lambda: large.policy.set_training_mode(True)) == 0
    # None of these has used up the one notice.
    assert noticed(lambda: small_model(env).policy.set_training_mode(True)) == 1


@pytest.mark.usefixtures("by_default")
@pytest.mark.parametrize("variable", threads.VARIABLES)
def test_a_number_of_threads_chosen_in_the_environment_is_respected(env, monkeypatch, variable):
    monkeypatch.setenv(variable, "2")
    assert noticed(lambda: small_model(env).learn(30)) == 0


@pytest.mark.usefixtures("by_default")
@pytest.mark.parametrize("chosen", [1, 3])
def test_a_number_of_threads_chosen_in_the_program_is_respected(env, chosen):
    th.set_num_threads(chosen)
    assert noticed(lambda: small_model(env).learn(30)) == 0


@pytest.mark.usefixtures("by_default")
def test_the_number_of_threads_stays_the_users(env):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small_model(env).learn(30)
    assert th.get_num_threads() == 2


def test_what_torch_does_by_default_is_known():
    # In a process of its own: here a number has been chosen. torch counts cores or, where these have two threads
    # each, every second one.
    script = "import torch; from sb3_spiking.snn import threads; print(threads._is_default(torch.get_num_threads()))"
    chosen_by_nobody = {name: value for name, value in os.environ.items() if name not in threads.VARIABLES}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=chosen_by_nobody)
    assert result.stdout.strip() == "True"
