"""Environments of the film tests."""

import gymnasium as gym
import pytest

from tests.film.environments import PicturedEnv


@pytest.fixture
def pictured():
    """Register an environment while a test runs, and return its id."""
    gym.register("Pictured-v0", PicturedEnv, max_episode_steps=20)
    yield "Pictured-v0"
    del gym.registry["Pictured-v0"]
