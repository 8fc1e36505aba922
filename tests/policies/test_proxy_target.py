"""A proxy stands in place of TD3's target actor, follows the actor, and goes with the model."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DDPG, SAC, TD3
from torch.nn import functional

from tests.conftest import small_model
from tests.envs import AnyEnv

PROXY = {"net_arch": [32, 32], "proxy_target": True, "proxy_kwargs": {"net_arch": [16], "steps": 2}}


def model_with_proxy(env, algorithm=TD3, **settings):
    return small_model(env, algorithm, policy_kwargs=copy.deepcopy(PROXY), **settings)


def observations(env, count=40):
    return th.as_tensor(np.stack([env.observation_space.sample() for _ in range(count)])).float()


def fitted(policy, env):
    """Return a policy with statistics of the observations."""
    policy.fit_normalization(observations(env).numpy())
    return policy


def test_it_takes_adams_steps_towards_the_actor(env):
    policy = fitted(model_with_proxy(env).policy, env)
    policy.set_training_mode(True)
    batch = observations(env)
    with th.no_grad():
        features = policy.actor_target.extract_features(batch, policy.actor_target.features_extractor)
        wanted = policy.actor.mu(features)
    by_hand = copy.deepcopy(policy.proxy.network)
    optimizer = th.optim.Adam(by_hand.parameters(), 3e-3)
    for _ in range(2):
        optimizer.zero_grad()
        functional.mse_loss(by_hand(features), wanted).backward()
        optimizer.step()
    with th.no_grad():
        answered = policy.actor_target(batch)
        th.testing.assert_close(answered, by_hand(features))
    for own, expected in zip(policy.proxy.network.parameters(), by_hand.parameters(), strict=True):
        th.testing.assert_close(own, expected)


def test_it_comes_near_to_the_actor(env):
    policy = fitted(model_with_proxy(env).policy, env)
    policy.set_training_mode(True)
    batch = observations(env)
    for _ in range(300):
        answered = policy.actor_target(batch)
    policy.set_training_mode(False)
    assert (answered - policy.actor(batch)).abs().mean() < 0.05


def test_it_follows_in_training_alone(env):
    policy = fitted(model_with_proxy(env).policy, env)
    policy.set_training_mode(False)
    batch = observations(env)
    first = policy.actor_target(batch)
    assert th.equal(policy.actor_target(batch), first)


@pytest.mark.parametrize("algorithm", [TD3, DDPG])
def test_target_values_are_those_of_the_proxy(env, algorithm, monkeypatch):
    model = model_with_proxy(env, algorithm)
    model.learn(40)
    asked = []
    follow = type(model.policy.proxy).follow
    monkeypatch.setattr(
        type(model.policy.proxy), "follow", lambda proxy, *args: asked.append(args[1].shape) or follow(proxy, *args)
    )
    before = copy.deepcopy(model.policy.proxy.network.state_dict())
    model.train(3, batch_size=8)
    assert asked == [(8, env.action_space.shape[0])] * 3  # also between the delayed updates of the actor
    assert not all(map(th.equal, before.values(), model.policy.proxy.network.state_dict().values()))


def test_a_resumed_run_goes_on_with_the_proxy_and_its_adam(env, tmp_path):
    model = model_with_proxy(env).learn(60)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = TD3.load(tmp_path / "model", env=env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer")
    loaded.set_logger(model.logger)
    for each in (model, loaded):
        th.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002 (SB3 draws from it)
        each.train(2, batch_size=8)
    states = [each.policy.state_dict() for each in (model, loaded)]
    tensors = [name for name, value in states[0].items() if isinstance(value, th.Tensor)]
    assert any(name.startswith("proxy.") for name in tensors)
    assert [name for name in tensors if not th.equal(states[0][name], states[1][name])] == []


def test_a_copy_follows_its_own_actor(env):
    policy = model_with_proxy(env).policy
    copied = copy.deepcopy(policy)
    assert copied.actor_target._followed == (copied.proxy, copied.actor)
    assert len(list(copied.actor.parameters())) == len(list(copied.actor_target.parameters()))


def test_images_have_a_proxy_with_convolutions():
    env = AnyEnv(spaces.Box(0, 255, (1, 36, 36), np.uint8), spaces.Box(-1.0, 1.0, (2,)))
    policy_kwargs = {"net_arch": [16], "proxy_target": True, "proxy_kwargs": {"net_arch": [16], "steps": 1}}
    settings = {"buffer_size": 50, "learning_starts": 10, "batch_size": 4, "device": "cpu"}
    TD3("SpikingCnnPolicy", env, policy_kwargs=policy_kwargs, **settings).learn(14)


@pytest.mark.parametrize(
    ("policy_kwargs", "problem"),
    [
        ({"proxy_target": 1}, "proxy_target=1 must be"),
        ({"proxy_kwargs": {"steps": 2}}, "no effect without proxy_target=True"),
        ({"proxy_target": True, "proxy_kwargs": {"step": 2}}, "proxy_kwargs has no 'step'"),
        ({"proxy_target": True, "proxy_kwargs": {"steps": 0}}, "steps"),
        ({"proxy_target": True, "proxy_kwargs": {"learning_rate": -1.0}}, "learning_rate"),
        ({"proxy_target": True, "proxy_kwargs": {"net_arch": [0]}}, "net_arch"),
    ],
)
def test_other_values_are_refused(env, policy_kwargs, problem):
    with pytest.raises(ValueError, match=problem):
        TD3("PopSANPolicy", env, buffer_size=10, policy_kwargs=policy_kwargs)


def test_algorithms_without_a_target_actor_do_not_take_it(env):
    with pytest.raises(TypeError, match="proxy_target"):
        SAC("PopSANPolicy", env, buffer_size=10, policy_kwargs={"proxy_target": True})
