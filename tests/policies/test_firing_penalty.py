"""The penalty makes agents of the algorithms fire less, is saved with them, and is refused where it would mislead."""

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3 import PPO, SAC, TD3

from tests.distillation.test_distill import BRIEF, Teacher, Walk, swing


def rate_after_training(penalty):
    from sb3_spiking import distill

    env = Walk()
    policy_kwargs = {"net_arch": [32, 32], "firing_penalty": penalty, "firing_target": 0.05}
    student = PPO("PopSANPolicy", env, policy_kwargs=policy_kwargs, device="cpu", seed=0)
    report = distill(Teacher(env, swing), student, env, **{**BRIEF, "steps": 1500, "gradient_steps": 600})
    rates = report.cost.firing_rates
    return sum(rate for name, rate in rates.items() if name != "encoder") / (len(rates) - 1), report.error


def test_a_penalised_network_fires_less_and_learns():
    (rate, error), (penalised, penalised_error) = rate_after_training(0.0), rate_after_training(3.0)
    assert penalised < 0.7 * rate
    assert penalised_error < error + 0.1


@pytest.mark.parametrize("algorithm", [TD3, SAC, PPO])
def test_the_penalty_is_saved_with_an_agent(algorithm, tmp_path):
    settings = {} if algorithm is PPO else {"buffer_size": 100, "learning_starts": 10}
    policy_kwargs = {"net_arch": [8], "firing_penalty": 0.5, "firing_target": 0.2}
    model = algorithm("PopSANPolicy", "Pendulum-v1", policy_kwargs=policy_kwargs, device="cpu", **settings)
    model.save(tmp_path / "agent.zip")
    loaded = algorithm.load(tmp_path / "agent.zip", device="cpu")
    penalties = {layer.penalty for layer in loaded.policy.spiking_network.layers}
    assert [(penalty.weight, penalty.target) for penalty in penalties] == [(0.5, 0.2)]


def test_trpo_refuses_it():
    trpo = pytest.importorskip("sb3_contrib").TRPO
    with pytest.raises(ValueError, match=r"firing_penalty=0\.5 is not supported under TRPO"):
        trpo("PopSANPolicy", "Pendulum-v1", policy_kwargs={"firing_penalty": 0.5})


def test_ppo_learns_with_it():
    env = gym.make("Pendulum-v1")
    policy_kwargs = {"net_arch": [8], "firing_penalty": 1.0}
    model = PPO("PopSANPolicy", env, n_steps=64, batch_size=32, policy_kwargs=policy_kwargs, device="cpu").learn(128)
    assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())
