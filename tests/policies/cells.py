"""Every algorithm with every policy: the environments and small agents that the tests of all the cells share."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

try:
    from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO
except ImportError:
    CONTRIB = ()
else:
    CONTRIB = (TQC, CrossQ, TRPO, MaskablePPO, QRDQN)

ALGORITHMS = (TD3, DDPG, SAC, PPO, A2C, DQN, *CONTRIB)
ON_POLICY = {"PPO", "A2C", "TRPO", "MaskablePPO"}
VALUE = {"DQN", "QRDQN"}

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 12, 12), np.uint8)
DICT = spaces.Dict({"camera": IMAGE, "joints": VECTOR, "mode": spaces.Discrete(3)})
OBSERVATIONS = {
    "PopSANPolicy": VECTOR,
    "SpikingMlpPolicy": VECTOR,
    "SpikingCnnPolicy": IMAGE,
    "SpikingMultiInputPolicy": DICT,
}
BOX = spaces.Box(np.array([-1.0, 2.0], np.float32), np.array([3.0, 2.5], np.float32))


def sample(space, rng):
    """Return an observation: vectors far from 0, images of every value."""
    if isinstance(space, spaces.Dict):
        return {name: sample(entry, rng) for name, entry in space.spaces.items()}
    if isinstance(space, spaces.Discrete):
        return int(rng.integers(space.n))
    if space.dtype == np.uint8:
        return rng.integers(0, 256, space.shape, dtype=np.uint8)
    return rng.normal(5.0, 2.0, space.shape).astype(np.float32)


class AnyEnv(gym.Env):
    """Ten random observations an episode; the reward is the action. Of three discrete actions, 1 is invalid."""

    def __init__(self, observation_space, action_space):
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return sample(self.observation_space, self.np_random), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return sample(self.observation_space, self.np_random), float(np.sum(action)), False, self.steps >= 10, {}

    def action_masks(self):
        return np.array([True, False, True])


@dataclass(frozen=True)
class Cell:
    """An algorithm and a policy."""

    algorithm: type[BaseAlgorithm]
    policy: str

    def __str__(self):
        return f"{self.algorithm.__name__}-{self.policy}"

    @property
    def name(self):
        return self.algorithm.__name__

    @property
    def observation_space(self):
        return OBSERVATIONS[self.policy]

    def env(self, action_space=None):
        discrete = self.name in VALUE or self.name == "MaskablePPO"
        return AnyEnv(self.observation_space, action_space or (spaces.Discrete(3) if discrete else BOX))

    def observations(self, n=16, seed=1):
        rng = np.random.default_rng(seed)
        drawn = [sample(self.observation_space, rng) for _ in range(n)]
        if isinstance(self.observation_space, spaces.Dict):
            return {name: np.stack([observation[name] for observation in drawn]) for name in drawn[0]}
        return np.stack(drawn)

    def model(self, env=None, policy_kwargs=None, **kwargs):
        """Return an untrained agent with a small network."""
        settings = {"seed": 0, "device": "cpu", "policy_kwargs": {"net_arch": [16, 16], **(policy_kwargs or {})}}
        if self.name in ON_POLICY:
            settings["n_steps"] = 16
            if self.name != "A2C":
                settings["batch_size"] = 16
        else:
            settings |= {"learning_starts": 20, "batch_size": 16, "buffer_size": 500}
        return self.algorithm(self.policy, env or self.env(), **{**settings, **kwargs})


CELLS = [
    Cell(algorithm, policy)
    for algorithm in ALGORITHMS
    for policy in OBSERVATIONS
    if (algorithm.__name__, policy) != ("CrossQ", "SpikingMultiInputPolicy")
]
