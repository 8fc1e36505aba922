"""Untrained DQNs of every kind, and the states they might meet: what the tests of the conversion share."""

from itertools import pairwise

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from torch import nn

from sb3_spiking.conversion import METHODS, convert, load_dqn
from sb3_spiking.conversion.dense import DenseNetwork
from sb3_spiking.conversion.policy import DenseQPolicy
from tests.envs import AnyEnv, observations_of

VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
SPACES = {
    "vector": VECTOR,
    "matrix": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
    "float64": spaces.Box(-np.finfo(np.float64).max, np.finfo(np.float64).max, (4,), np.float64),
    "float16": spaces.Box(-1.0, 1.0, (4,), np.float16),
    "integers": spaces.Box(-5, 5, (4,), np.int64),
    "booleans": spaces.Box(0, 1, (4,), np.bool_),
    "image": IMAGE,
    "discrete": spaces.Discrete(5),
    "multidiscrete": spaces.MultiDiscrete([3, 4]),
    "multibinary": spaces.MultiBinary(5),
    "multibinary grid": spaces.MultiBinary([2, 3]),
    "dict": spaces.Dict(
        {"b": spaces.Discrete(3), "a": spaces.Box(-1.0, 1.0, (2, 2), np.float32), "c": spaces.MultiBinary(2)}
    ),
    "dict of an image": spaces.Dict({"camera": IMAGE}),
}
CODINGS = tuple(METHODS)


class Random(AnyEnv):
    """Ten random observations an episode; the reward is the action."""

    def __init__(self, observation_space=VECTOR, n_actions=3):
        super().__init__(observation_space, spaces.Discrete(n_actions))


def observations(space=VECTOR, n=64, seed=1):
    """Return a batch of observations; vectors of moderate size, whatever their bounds."""
    return observations_of(space, n, seed)


def rows(batch, which):
    """Return some observations of a batch."""
    return {name: entry[which] for name, entry in batch.items()} if isinstance(batch, dict) else batch[which]


def dqn(space=VECTOR, algorithm=DQN, n_actions=3, policy=None, env=None, **policy_kwargs):
    """Return an untrained agent; its weights are larger than SB3's, so that actions depend on the observation."""
    if policy is None:
        policy = {spaces.Dict: "MultiInputPolicy"}.get(type(space), "CnnPolicy" if space is IMAGE else "MlpPolicy")
    policy_kwargs = {"net_arch": [16, 12], **policy_kwargs}
    model = algorithm(
        policy, env or Random(space, n_actions), buffer_size=10, device="cpu", seed=0, policy_kwargs=policy_kwargs
    )
    with th.no_grad():
        for weights in model.policy.parameters():
            weights *= 2.0
    return model


def q_values(model, batch):
    """Return what SB3's own network says."""
    with th.no_grad():
        return model.q_net(model.policy.obs_to_tensor(batch)[0]).numpy()


def converted(space=VECTOR, method=None, seed=1, **kwargs):
    """Return a spiking policy and the DQN it comes from."""
    teacher = load_dqn(dqn(space))
    return convert(teacher, observations(space, seed=seed), method=method, **kwargs), teacher


def network(*sizes, seed=0, dtype=th.float64):
    """Return random fully connected layers; in float64 no rounding turns a spike."""
    generator = th.Generator().manual_seed(seed)
    layers = []
    for inputs, outputs in pairwise(sizes):
        layer = nn.Linear(inputs, outputs, dtype=dtype)
        layer.weight.data = th.randn(outputs, inputs, generator=generator, dtype=dtype) / inputs**0.5
        layer.bias.data = 0.3 * th.randn(outputs, generator=generator, dtype=dtype)
        layers.append(layer)
    return DenseNetwork(layers).requires_grad_(False)


def balancing():
    """Return an agent for CartPole that pushes towards where the pole leans, and drops it after a while."""
    net = network(4, 2, 2, dtype=th.float32)
    net.layers[0].weight.copy_(th.tensor([[0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 1.0, 0.0]]))
    net.layers[1].weight.copy_(th.eye(2))
    for layer in net.layers:
        layer.bias.zero_()
    return DenseQPolicy(net, spaces.Box(-np.inf, np.inf, (4,)), spaces.Discrete(2))


def states(n, size, seed=1, dtype=th.float64):
    """Return random features."""
    return th.randn(n, size, generator=th.Generator().manual_seed(seed), dtype=dtype)
