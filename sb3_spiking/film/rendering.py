"""Environments that render images, on machines without a screen too."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
from gymnasium import spaces
from gymnasium.error import Error as GymError
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.environments.recipe import AnyEnv, EnvRecipe, environments, given, reason_of
from sb3_spiking.errors import InputError

SETTINGS = ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER", "MUJOCO_GL")
"""Variables of the process that are changed while an environment renders."""


@contextmanager
def rendering(env: AnyEnv, observation_space: spaces.Space, action_space: spaces.Space, seed: int) -> Iterator[VecEnv]:
    """
    Make one environment that renders images; no screen is needed.

    :param env: id of the environment, or its recipe; or one environment with the render mode ``rgb_array``
    :param observation_space: observation space of the agent
    :param action_space: action space of the agent
    :param seed: seed of the environment
    :raises ValueError: if the environment renders no images, or there are several
    """
    recipe = given(env)
    if isinstance(recipe, VecEnv):
        if recipe.num_envs != 1:
            raise ValueError(f"env has {recipe.num_envs} environments; a film shows one")
        if recipe.render_mode != "rgb_array":
            raise ValueError(f"env renders no images: its render mode is {recipe.render_mode}, not rgb_array")
        with _no_screen(), environments(recipe, observation_space, action_space, 1, seed) as wrapped:
            yield wrapped
        return
    with _no_screen(), closing(recipe.make(1, seed)) as plain:
        modes = plain.get_attr("metadata")[0].get("render_modes", [])
    if "rgb_array" not in modes:
        raise ValueError(f"{recipe.id} renders no images: it has no render mode rgb_array, only {modes or 'none'}")
    with (
        _no_screen(),
        environments(with_render_mode(recipe, "rgb_array"), observation_space, action_space, 1, seed) as made,
    ):
        yield made


def with_render_mode(recipe: EnvRecipe, mode: str) -> EnvRecipe:
    """Return the recipe of an environment with gymnasium's ``render_mode``."""
    return dataclasses.replace(recipe, kwargs={**recipe.kwargs, "render_mode": mode})


def image_of(env: VecEnv, name: str) -> np.ndarray:
    """
    Return the current image.

    :param env: one rendering environment
    :param name: name of the environment, for errors
    :return: ``[height, width, 3]`` of uint8
    :raises ValueError: if there is none
    """
    try:
        image = env.get_images()[0]
    except (GymError, ImportError):  # their texts say what to install
        raise
    except Exception as error:  # an environment may fail in any way
        raise InputError(f"{name} renders no images: ", reason_of(error)) from error
    if image is None:
        raise ValueError(f"{name} renders no images")
    return image


def frames_per_second(env: VecEnv) -> int:
    """Return the frame rate of an environment's own time."""
    return env.get_attr("metadata")[0].get("render_fps", 30)


@contextmanager
def _no_screen() -> Iterator[None]:
    """Select SDL's dummy video and audio drivers, and MuJoCo's EGL without a screen; restore them at the end."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SDL_VIDEODRIVER="dummy", SDL_AUDIODRIVER="dummy")
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
