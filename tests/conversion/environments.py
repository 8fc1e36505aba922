"""Environments and statistics of observations for the tests."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

CARTPOLE = (spaces.Box(-np.inf, np.inf, (4,)), spaces.Discrete(2))
ATARI_SPACE = spaces.Box(0, 255, (4, 84, 84), np.uint8)


class ImageEnv(gym.Env):
    """Images of noise, channels last, episodes of ten steps."""

    observation_space = spaces.Box(0, 255, (36, 40, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def see(self):
        return self.np_random.integers(256, size=(36, 40, 3), dtype=np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.see(), {}

    def step(self, action):
        self.steps += 1
        return self.see(), 1.0, False, self.steps == 10, {}


class DictEnv(ImageEnv):
    """Such an image and a vector."""

    def __init__(self):
        self.observation_space = spaces.Dict({"img": ImageEnv.observation_space, "vec": spaces.Box(-9, 9, (5,))})

    def see(self):
        return {"img": super().see(), "vec": self.np_random.normal(1.0, 3.0, 5).astype(np.float32)}


def play(env, steps=30):
    """Return all that an agent would see, ends of episodes too."""
    env.action_space.seed(0)
    seen = [env.reset()]
    for _ in range(steps):
        observations, _, _, infos = env.step(np.array([env.action_space.sample() for _ in range(env.num_envs)]))
        seen += [observations, *(info["terminal_observation"] for info in infos if "terminal_observation" in info)]
    return seen


def assert_equal(seen, expected):
    assert len(seen) == len(expected)
    for own, other in zip(seen, expected, strict=True):
        np.testing.assert_equal(own, other)


def save_statistics(path, env_id="CartPole-v1", n_stack=1, **kwargs):
    """Save statistics that were gathered for a while."""
    env = make_vec_env(lambda: gym.make(env_id), 2, seed=5)
    env = VecNormalize(VecFrameStack(env, n_stack) if n_stack > 1 else env, **kwargs)
    play(env)
    env.save(path)
    return path
