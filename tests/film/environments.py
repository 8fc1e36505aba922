"""Environments whose images need no pygame, or that have none."""

import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

SIZE = (24, 32)


class PicturedEnv(CartPoleEnv):
    """CartPole whose pictures need no pygame: the n-th is of brightness 2 n."""

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 50}  # noqa: RUF012 (gymnasium's)
    shown = 0

    def reset(self, **kwargs):
        self.steps = 0
        return super().reset(**kwargs)

    def step(self, action):
        self.steps += 1
        if self.render_mode == "human":
            type(self).shown += 1
        mode, self.render_mode = self.render_mode, None  # or it would open a window of its own
        result = super().step(action)
        self.render_mode = mode
        return result

    def render(self):
        return np.full((*SIZE, 3), 2 * self.steps, np.uint8)


class BlindEnv(CartPoleEnv):
    """CartPole without pictures."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's)

    def render(self):
        return None


class UnseenEnv(PicturedEnv):
    """CartPole that can be shown to a person alone."""

    metadata = {"render_modes": ["human"]}  # noqa: RUF012 (gymnasium's)


class LivesEnv(PicturedEnv):
    """A game of three lives of two steps each."""

    @property
    def ale(self):
        return self

    def lives(self):
        return 3 - self.steps // 2

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, self.lives() == 0, truncated, info
