"""Filming an episode: GIF, or what ffmpeg writes."""

import dataclasses
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.error import Error as GymError
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.cli.agents import Agent, entering
from sb3_spiking.cli.console import Task, progress, warn
from sb3_spiking.conversion.rollout import play
from sb3_spiking.environments.recipe import EnvRecipe, environments, reason_of
from sb3_spiking.files import replacing

MAX_FRAMES = 3000
SDL_DRIVERS = ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER")


def check_video(path: Path, force: bool, option: str = "--video") -> None:
    """
    Check that a film can be written, before anything is played.

    :param path: where
    :param force: a file that is there already may be replaced
    :param option: what names the path
    :raises ValueError: if it cannot
    """
    if path.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError(f"{option} {path} needs ffmpeg, which is not installed; name a .gif")
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"{option} {path} must end in .gif or .mp4")
    if path.exists() and not force:
        raise ValueError(f"{option} {path} is there already; --force replaces it")
    if not path.parent.is_dir():
        raise ValueError(f"{option}: there is no folder {path.parent} to write to; make it, or choose another")


def film(agent: Agent, spec: EnvRecipe, seed: int, epsilon: float, path: Path, quiet: bool) -> None:
    """
    Film one episode, or its first frames where it is very long.

    :param agent: the agent
    :param spec: its environment
    :param seed: of the episode
    :param epsilon: probability of a random action
    :param path: where to write
    :param quiet: show no progress
    :raises ValueError: if the environment shows no pictures
    """
    frames: list[np.ndarray] = []
    with (
        filmed(spec, agent.observation_space, agent.action_space, seed) as env,
        progress("filming the first episode", None, quiet) as task,
    ):

        def watch(*_: Any) -> None:
            task.advance()
            frames.append(picture(env, spec))

        th.manual_seed(seed)  # Poisson encoders draw from it.
        cut = lambda steps: warn(f"{path} shows the first {steps} decisions of the episode")  # noqa: E731
        list(play(entering(agent, env), env, 1, seed, epsilon, watch, MAX_FRAMES, cut))
        fps = frames_per_second(env)
    with progress("writing the film", len(frames), quiet) as task:
        write(_counted(frames, task), fps, path)


def _counted(frames: Iterable[np.ndarray], task: Task) -> Iterator[np.ndarray]:
    for frame in frames:
        yield frame
        task.advance()


@contextmanager
def filmed(spec: EnvRecipe, observation_space: spaces.Space, action_space: spaces.Space, seed: int) -> Iterator[VecEnv]:
    """
    Make one environment that `picture` can take pictures of; no screen is needed.

    :param spec: which
    :param observation_space: the agent's
    :param action_space: the agent's
    :param seed: of the environment
    :raises ValueError: if the environment shows no pictures
    """
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo would look for a screen.
    with closing(spec.make(1, seed)) as plain:
        modes = plain.get_attr("metadata")[0].get("render_modes", [])
    if "rgb_array" not in modes:
        raise ValueError(f"{spec.id} shows no pictures: it has no render mode rgb_array, only {modes or 'none'}")
    with (
        _no_screen(),
        environments(rendered(spec, "rgb_array"), observation_space, action_space, 1, seed) as env,
    ):
        yield env


@contextmanager
def _no_screen() -> Iterator[None]:
    """Keep pygame from looking for a screen and a loudspeaker, and from complaining where there are none."""
    before = {name: os.environ.get(name) for name in SDL_DRIVERS}
    os.environ.update(dict.fromkeys(SDL_DRIVERS, "dummy"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def picture(env: VecEnv, spec: EnvRecipe) -> np.ndarray:
    """
    Take a picture.

    :param env: a filmed environment
    :param spec: which one it is
    :return: ``[height, width, 3]`` of uint8
    :raises ValueError: if there is none
    """
    try:
        image = env.get_images()[0]
    except (GymError, ImportError):  # their texts say what to install
        raise
    except Exception as error:  # an environment may fail in any way
        raise ValueError(f"{spec.id} shows no pictures: {reason_of(error)}") from error
    if image is None:
        raise ValueError(f"{spec.id} shows no pictures")
    return image


def frames_per_second(env: VecEnv) -> int:
    """
    Return how fast an environment's pictures are shown in its own time.

    :param env: the environment
    """
    return env.get_attr("metadata")[0].get("render_fps", 30)


def rendered(spec: EnvRecipe, mode: str) -> EnvRecipe:
    """
    Return an environment that shows itself.

    :param spec: the environment
    :param mode: gymnasium's ``render_mode``
    """
    return dataclasses.replace(spec, kwargs={**spec.kwargs, "render_mode": mode})


def write(frames: Iterable[np.ndarray], fps: int, path: Path) -> None:
    """
    Write a film; a file that is there already is replaced once the new one is complete.

    :param frames: ``[height, width, 3]`` of uint8, at least one, all of one size; taken one by one
    :param fps: frames per second
    :param path: where, ``.gif`` or ``.mp4``
    """
    from matplotlib.animation import FFMpegWriter, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_axis_off()
    image = ax.imshow(first)
    writer = PillowWriter(fps=fps) if path.suffix == ".gif" else FFMpegWriter(fps=fps)
    with replacing(path) as (partial,), writer.saving(figure, str(partial), dpi=100):
        for frame in itertools.chain([first], frames):
            image.set_data(frame)
            writer.grab_frame()
