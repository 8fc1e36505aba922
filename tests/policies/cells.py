"""Every algorithm with every policy: the environments and small agents that the tests of all the cells share."""

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from tests.envs import AnyEnv, far, observations_of

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
        return AnyEnv(self.observation_space, action_space or (spaces.Discrete(3) if discrete else BOX), far)

    def observations(self, n=16, seed=1):
        return observations_of(self.observation_space, n, seed, far)

    def model(self, env=None, policy_kwargs=None, **kwargs):
        """Return an untrained agent with a small network."""
        settings = {"seed": 0, "device": "cpu", "policy_kwargs": {"net_arch": [16, 16], **(policy_kwargs or {})}}
        if self.name in ON_POLICY:
            settings["n_steps"] = 16
            if self.name != "A2C":
                settings["batch_size"] = 16
            if self.name == "TRPO":
                settings |= {"cg_max_steps": 3, "n_critic_updates": 2}  # derivatives of derivatives take long
        else:
            settings |= {"learning_starts": 20, "batch_size": 16, "buffer_size": 500}
        return self.algorithm(self.policy, env or self.env(), **{**settings, **kwargs})


CELLS = [
    Cell(algorithm, policy)
    for algorithm in ALGORITHMS
    for policy in OBSERVATIONS
    if (algorithm.__name__, policy) != ("CrossQ", "SpikingMultiInputPolicy")
]
