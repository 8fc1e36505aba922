"""Models of several algorithms, and a gradient step on a batch that is the same in each process."""

import importlib.util
from types import SimpleNamespace
from unittest import mock

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.buffers import ReplayBufferSamples
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import RolloutBufferSamples

NET = {"net_arch": [24, 24]}
OFF_POLICY = {"learning_starts": 100, "batch_size": 32, "buffer_size": 5000}
MODELS = {
    # Noise on the target's actions would be another on each rank.
    "TD3": (TD3, "Pendulum-v1", {**OFF_POLICY, "target_policy_noise": 0.0, "policy_delay": 1}),
    "SAC": (SAC, "Pendulum-v1", OFF_POLICY),
    # A mean over half of a batch is another than that over all of it.
    "PPO": (PPO, "CartPole-v1", {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "normalize_advantage": False}),
    "DQN": (DQN, "CartPole-v1", {**OFF_POLICY, "target_update_interval": 100}),
}
"""Where one step of two ranks must equal one step of one process."""


def others():
    """Return the other algorithms, those of sb3-contrib where it is installed."""
    algorithms = {
        "DDPG": (DDPG, "Pendulum-v1", OFF_POLICY),
        "A2C": (A2C, "CartPole-v1", {"n_steps": 20}),
    }
    if importlib.util.find_spec("sb3_contrib"):
        from sb3_contrib import QRDQN, TQC, CrossQ

        algorithms["TQC"] = (TQC, "Pendulum-v1", OFF_POLICY)
        algorithms["CrossQ"] = (CrossQ, "Pendulum-v1", OFF_POLICY)
        algorithms["QRDQN"] = (QRDQN, "CartPole-v1", OFF_POLICY)
    return algorithms


OTHERS = others()
SIZE = 64


def make(name, seed, **kwargs):
    """Return an untrained model."""
    cls, env, defaults = {**MODELS, **OTHERS}[name]
    policy_kwargs = {**NET, **kwargs.pop("policy_kwargs", {})}
    return cls("PopSANPolicy", Monitor(gym.make(env)), seed=seed, policy_kwargs=policy_kwargs, **{**defaults, **kwargs})


def make_plain(name):
    """Return an untrained model whose steps are as large as its gradients: Adam's first step hides their size."""
    return make(name, 0, learning_rate=0.1, policy_kwargs={"optimizer_class": th.optim.SGD})


def parameters(model):
    """Return everything that learns, and the observation statistics."""
    values = {name: tensor.tolist() for name, tensor in model.policy.state_dict().items()}
    for name in model._get_torch_save_params()[1]:
        values[name] = getattr(model, name).tolist()
    return values


def learn_from(model, half=None):
    """
    Make one gradient step.

    :param model: any of ``MODELS``
    :param half: 0 or 1, which half of the batch; all of it if None
    """
    rng = np.random.default_rng(7)
    rows = slice(None) if half is None else slice(half * SIZE // 2, (half + 1) * SIZE // 2)

    def drawn(*shape):
        return th.tensor(rng.standard_normal((SIZE, *shape)), dtype=th.float32)[rows]

    observations = drawn(*model.observation_space.shape)
    following = drawn(*model.observation_space.shape)
    if isinstance(model.action_space, gym.spaces.Box):
        actions = drawn(*model.action_space.shape).tanh()
    else:
        actions = th.tensor(rng.integers(0, model.action_space.n, (SIZE, 1)))[rows]
    first, second, third = drawn(1), drawn(1), drawn(1)
    model._logger = mock.MagicMock()
    model._current_progress_remaining = 1.0
    if isinstance(model, PPO):
        batch = RolloutBufferSamples(
            observations, actions, first.flatten(), second.flatten() - 0.7, third.flatten(), first.flatten()
        )
        model.n_epochs = 1
        model.rollout_buffer = SimpleNamespace(
            get=lambda size: iter([batch]), values=np.zeros(4), returns=np.arange(4.0)
        )
        model.train()
        return
    batch = ReplayBufferSamples(observations, actions, following, th.zeros_like(first), second)
    model.replay_buffer = SimpleNamespace(sample=lambda *args, **kwargs: batch)
    with mock.patch.object(SquashedDiagGaussianDistribution, "sample", SquashedDiagGaussianDistribution.mode):
        model.train(gradient_steps=1, batch_size=SIZE)
