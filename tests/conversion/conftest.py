"""Fixtures of the conversion tests."""

import gymnasium as gym
import pytest

from tests.conversion.environments import DictEnv, ImageEnv


@pytest.fixture
def images_and_dicts():
    """Register them while a test runs."""
    gym.register("TestImage-v0", ImageEnv)
    gym.register("TestDict-v0", DictEnv)
    yield
    del gym.registry["TestImage-v0"], gym.registry["TestDict-v0"]
