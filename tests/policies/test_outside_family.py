"""A family from another package: an algorithm with its own policy class, and spiking policies for it."""

import subprocess
import sys

import numpy as np
import pytest

import sb3_spiking
from tests.envs import AnyEnv
from tests.policies.cells import BOX, VECTOR

ALGORITHM = '''
"""Reward-weighted regression: the actor imitates the actions that were rewarded."""

import torch as th
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn


class RegressionPolicy(BasePolicy):
    def __init__(
        self,
        observation_space,
        action_space,
        lr_schedule,
        net_arch=None,
        features_extractor_class=FlattenExtractor,
        features_extractor_kwargs=None,
        normalize_images=True,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images=normalize_images,
            squash_output=True,
        )
        self.net_arch = net_arch or [8]
        self.features_extractor = self.make_features_extractor()
        self.mu = self.make_network(self.features_extractor.features_dim, get_action_dim(action_space))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1))

    def make_network(self, features_dim, action_dim):
        return nn.Sequential(nn.Linear(features_dim, 8), nn.ReLU(), nn.Linear(8, action_dim), nn.Tanh())

    def forward(self, obs, deterministic=True):
        return self.mu(self.extract_features(obs, self.features_extractor))

    _predict = forward


class Regression(OffPolicyAlgorithm):
    policy_aliases = {"MlpPolicy": RegressionPolicy}

    def __init__(self, policy, env, learning_rate=1e-3, _init_setup_model=True, **kwargs):
        super().__init__(
            policy, env, learning_rate, supported_action_spaces=(spaces.Box,), support_multi_env=True,
            sde_support=False, **kwargs
        )
        if _init_setup_model:
            self._setup_model()

    def train(self, gradient_steps, batch_size):
        self.policy.set_training_mode(True)
        for _ in range(gradient_steps):
            data = self.replay_buffer.sample(batch_size)
            error = (self.policy(data.observations) - data.actions).square().mean(dim=1)
            loss = (th.softmax(data.rewards.flatten(), 0) * error).sum()
            self.policy.optimizer.zero_grad()
            loss.backward()
            self.policy.optimizer.step()
'''

SPIKING = """
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.presets import DirectCurrent, PopulationCoded
from their_package.algorithm import RegressionPolicy
from torch import nn


class SpikingRegressionPolicy(SpikingPolicy, RegressionPolicy):
    def make_network(self, features_dim, action_dim):
        return self.network_spec.build(features_dim, action_dim, self.net_arch, nn.Tanh())

    @property
    def spiking_network(self):
        return self.mu

    def _actor_and_extractor(self):
        return self, self.features_extractor


class PopSANPolicy(PopulationCoded, SpikingRegressionPolicy):
    pass


class SpikingMlpPolicy(DirectCurrent, SpikingRegressionPolicy):
    pass
"""

INIT = """
import sb3_spiking
from their_package import spiking
from their_package.algorithm import Regression

sb3_spiking.register(Regression, policies=spiking)
"""


@pytest.fixture
def their_package(tmp_path, monkeypatch):
    """Return the package of somebody else, imported from a folder of its own."""
    folder = tmp_path / "site" / "their_package"
    folder.mkdir(parents=True)
    for name, text in (("__init__", INIT), ("algorithm", ALGORITHM), ("spiking", SPIKING)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    import their_package

    yield their_package
    for name in ("their_package", "their_package.algorithm", "their_package.spiking"):
        del sys.modules[name]


def model_of(their_package, policy, **policy_kwargs):
    return their_package.Regression(
        policy, AnyEnv(VECTOR, BOX), learning_starts=20, batch_size=16, buffer_size=100, device="cpu", seed=0,
        policy_kwargs={"net_arch": [16], **policy_kwargs},
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["PopSANPolicy", "SpikingMlpPolicy"])
def test_a_family_from_another_package_trains_saves_and_loads(their_package, policy, tmp_path):
    model = model_of(their_package, policy, time_steps=3)
    untrained = {name: value.clone() for name, value in model.policy.spiking_network.named_parameters()}
    model.learn(60, callback=sb3_spiking.SpikeMonitorCallback(log_freq=20))
    after = dict(model.policy.spiking_network.named_parameters())
    assert all((after[name] != value).any() for name, value in untrained.items())
    assert model.policy.features_extractor.running_count > 0
    model.save(tmp_path / "model")
    observations = np.random.default_rng(0).normal(5.0, 2.0, (4, 3)).astype(np.float32)
    expected, _ = model.predict(observations, deterministic=True)
    # As a user of the other package loads it, in a process of his own.
    np.savez(tmp_path / "data.npz", observations=observations, expected=expected)
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
import numpy as np
from their_package import Regression
data = np.load({str(tmp_path / "data.npz")!r})
model = Regression.load({str(tmp_path / "model")!r}, device="cpu")
assert model.policy_kwargs["time_steps"] == 3
np.testing.assert_array_equal(model.predict(data["observations"], deterministic=True)[0], data["expected"])
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_family_from_another_package_has_our_errors(their_package):
    with pytest.raises(TypeError, match=r"policy_kwargs has no 'timesteps'.*did you mean 'time_steps'"):
        model_of(their_package, "PopSANPolicy", timesteps=3)
    with pytest.raises(ValueError, match="neuron='LIF' is unknown"):
        model_of(their_package, "PopSANPolicy", neuron="LIF")
    with pytest.raises(TypeError, match=r"SpikingRegressionPolicy has no preset .*PopulationCoded"):
        model_of(their_package, their_package.spiking.SpikingRegressionPolicy)


def test_a_family_from_another_package_answers_to_our_names(their_package):
    assert isinstance(model_of(their_package, sb3_spiking.PopSANPolicy).policy, sb3_spiking.PopSANPolicy)
