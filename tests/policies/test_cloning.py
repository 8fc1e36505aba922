"""Training loops of one's own: what they train is what acts."""

import itertools

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback

from tests.envs import AnyEnv
from tests.policies.cells import CONTRIB, VECTOR, Cell

ACTIONS = spaces.Box(-1, 1, (1,), np.float32)
ON_POLICY = [PPO, A2C, *(algorithm for algorithm in CONTRIB if algorithm.__name__ == "TRPO")]


def teacher(observations):
    """Return a smooth action; observations have a mean of 5 and a deviation of 2."""
    return 0.8 * np.sin((observations[:, :1] - 5) / 2)


def data(n=1024):
    rng = np.random.default_rng(0)
    observations = rng.normal(5.0, 2.0, (n, 3)).astype(np.float32)
    return observations, teacher(observations).astype(np.float32)


def student(algorithm, policy="PopSANPolicy"):
    env = AnyEnv(VECTOR, spaces.Discrete(2) if algorithm is DQN else ACTIONS)
    return Cell(algorithm, policy).model(env, policy_kwargs={"net_arch": [32, 32]})


def output(policy, observations):
    """Return what is trained: the mean action, or the values."""
    if hasattr(policy, "q_net"):
        return policy.q_net(observations)[:, :1]
    if hasattr(policy, "get_distribution"):
        return policy.get_distribution(observations).distribution.mean
    return policy.actor(observations) if not hasattr(policy.actor, "log_std") else policy.actor(observations, True)


def clone(policy, steps=150):
    """Train the policy in the mode that it is in, and return the error of the last steps."""
    observations, actions = map(th.as_tensor, data())
    optimizer = th.optim.Adam(policy.parameters(), 3e-3)
    errors = []
    for _ in range(steps):
        batch = th.randint(len(observations), (128,))
        error = (output(policy, observations[batch]) - actions[batch]).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    return np.mean(errors[-20:])


def error_when_acting(policy):
    observations, actions = data()
    policy.predict(observations[:2])  # which puts it into evaluation mode
    with th.no_grad():
        return (output(policy, th.as_tensor(observations)) - th.as_tensor(actions)).square().mean().item()


@pytest.mark.parametrize("algorithm", [*ON_POLICY, TD3, SAC, DQN], ids=lambda algorithm: algorithm.__name__)
@pytest.mark.parametrize("policy", ["PopSANPolicy", "SpikingMlpPolicy"])
def test_a_cloned_policy_acts_as_it_was_trained(algorithm, policy):
    policy = student(algorithm, policy).policy
    untrained = error_when_acting(policy)
    policy.set_training_mode(True)
    trained = clone(policy)
    assert trained < 0.2 * untrained
    assert error_when_acting(policy) < 1.5 * trained


@pytest.mark.parametrize("to_training", [lambda policy: policy.set_training_mode(True), lambda policy: policy.train()])
def test_cloning_goes_on_after_learning_evaluating_and_loading(to_training, tmp_path):
    model = student(PPO).learn(32)
    policy = model.policy
    to_training(policy)
    clone(policy, 50)
    error_when_acting(policy)
    to_training(policy)
    clone(policy, 50)
    model.save(tmp_path / "half")
    policy = PPO.load(tmp_path / "half", device="cpu").policy
    to_training(policy)
    trained = clone(policy, 100)
    assert error_when_acting(policy) < 1.5 * trained


def test_cloning_after_a_training_that_stopped_within_a_rollout():
    class Stop(BaseCallback):
        def _on_step(self):
            return self.n_calls < 13  # episodes of ten steps are cut off by time: their last state was valued

    class Cut(AnyEnv):
        def step(self, action):
            *result, info = super().step(action)
            return *result, {**info, "TimeLimit.truncated": result[3]}

    model = Cell(PPO, "PopSANPolicy").model(Cut(VECTOR, ACTIONS), policy_kwargs={"net_arch": [32, 32]})
    model.learn(64, callback=Stop())
    model.policy.set_training_mode(True)
    trained = clone(model.policy)
    assert error_when_acting(model.policy) < 1.5 * trained


def test_cloning_in_evaluation_mode_is_not_silent_about_missing_statistics():
    policy = student(PPO).policy
    policy.set_training_mode(False)
    with pytest.warns(UserWarning, match=r"policy.set_training_mode\(True\) or policy.fit_normalization"):
        clone(policy, 1)


def test_fitted_statistics_serve_cloning_in_evaluation_mode(recwarn):
    policy = student(PPO).policy
    untrained = error_when_acting(policy)
    policy.fit_normalization(data()[0])
    policy.set_training_mode(False)
    trained = clone(policy)
    assert not recwarn
    assert trained < 0.2 * untrained
    assert error_when_acting(policy) < 1.2 * trained


class Evaluating(BaseCallback):
    """Acts between the end of a rollout and its update."""

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.model.predict(np.zeros(3, np.float32))


def prepared(algorithm):
    """Return an algorithm that puts its policy into training mode before the update does."""

    def train(self):
        self.policy.set_training_mode(True)
        super(changed, self).train()

    changed = type(algorithm.__name__, (algorithm,), {"train": train})
    return changed


@pytest.mark.parametrize("algorithm", [*ON_POLICY, prepared(PPO)], ids=lambda algorithm: algorithm.__name__)
def test_an_update_sees_the_features_that_its_rollout_saw(algorithm):
    model = student(algorithm)
    norm = model.policy.pi_features_extractor
    seen = []

    def watch(module, args, features):
        seen.append((module.training, module.running_mean.clone()))

    norm.register_forward_hook(watch)
    model.learn(3 * 16, callback=Evaluating())
    changes = [training for (_, before), (training, after) in itertools.pairwise(seen) if not th.equal(before, after)]
    assert changes == [False, False]  # with the second and the third rollout
    assert any(training for training, _ in seen)


def test_cloned_agents_go_on_with_reinforcement_learning():
    model = student(PPO)
    model.policy.set_training_mode(True)
    clone(model.policy, 20)
    count = model.policy.pi_features_extractor.running_count.item()
    model.learn(32)
    model.predict(data()[0])
    assert model.policy.pi_features_extractor.running_count.item() > count == 20 * 128
