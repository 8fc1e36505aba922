"""Fused Adam: the steps of torch's own, and no say in what the user chose."""

import gymnasium as gym
import pytest
import torch as th
from stable_baselines3 import DQN, PPO, SAC, TD3

import sb3_spiking  # noqa: F401

SMALL = {"net_arch": [16], "encoder_population": 3}


def make(algorithm, env, **policy_kwargs):
    arguments = {"n_steps": 8, "batch_size": 4} if algorithm is PPO else {}
    return algorithm("PopSANPolicy", env, policy_kwargs={**SMALL, **policy_kwargs}, seed=0, **arguments)


def optimizers(model):
    policy = model.policy
    networks = [policy.actor, policy.critic] if hasattr(policy, "actor") else [policy]
    return [network.optimizer for network in networks]


def choices(model, name="fused"):
    return {group[name] for optimizer in optimizers(model) for group in optimizer.param_groups}


@pytest.mark.parametrize(
    ("algorithm", "env"), [(TD3, "Pendulum-v1"), (SAC, "Pendulum-v1"), (PPO, "CartPole-v1"), (DQN, "CartPole-v1")]
)
def test_every_network_of_a_policy_is_stepped_in_one_pass(algorithm, env, tmp_path):
    model = make(algorithm, env)
    assert choices(model) == {True}
    model.save(tmp_path / "model")
    assert choices(algorithm.load(tmp_path / "model")) == {True}


def test_the_steps_are_those_of_torchs_default():
    fused, plain = (make(TD3, "Pendulum-v1").actor for _ in range(2))
    for group in plain.optimizer.param_groups:
        group["fused"] = None
    rng = th.Generator().manual_seed(0)
    for _ in range(20):
        for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
            ours.grad = th.randn(ours.shape, generator=rng)
            theirs.grad = ours.grad.clone()
        fused.optimizer.step()
        plain.optimizer.step()
    for ours, theirs in zip(fused.parameters(), plain.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_pickier_eps_of_on_policy_algorithms_stays():
    # SB3 sets it only where it is given no arguments of the optimiser.
    assert choices(make(PPO, "CartPole-v1"), "eps") == {1e-5}


@pytest.mark.parametrize("chosen", [{"fused": False}, {"foreach": True}, {"capturable": True}])
def test_what_the_user_chose_stays(chosen):
    model = make(TD3, "Pendulum-v1", optimizer_kwargs=chosen)
    ((name, value),) = chosen.items()
    assert choices(model, name) == {value}
    assert choices(model) <= {False, None}


def test_other_optimisers_are_left_alone():
    model = make(TD3, "Pendulum-v1", optimizer_class=th.optim.SGD)
    assert choices(model) == {None}
    make(TD3, "Pendulum-v1", optimizer_class=th.optim.Adagrad)


def test_a_model_saved_before_there_was_a_choice_still_loads(tmp_path):
    model = make(TD3, "Pendulum-v1")
    for optimizer in optimizers(model):
        for group in optimizer.param_groups:
            group["fused"] = None
    model.learn(110)
    model.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", env=gym.make("Pendulum-v1"))
    loaded.learn(110)
    assert all(parameter.isfinite().all() for parameter in loaded.policy.parameters())
