"""Filming an episode: GIF, or what ffmpeg writes."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from sb3_spiking.conversion.environment import EnvSpec, environments
from sb3_spiking.conversion.policy import SpikingQPolicy
from sb3_spiking.conversion.rollout import play

MAX_FRAMES = 3000


def check_video(path: Path, force: bool) -> None:
    """
    Check that a film can be written, before anything is played.

    :param path: where
    :param force: a file that is there already may be replaced
    :raises ValueError: if it cannot
    """
    if path.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError(f"--video {path} needs ffmpeg, which is not installed; name a .gif")
    if path.suffix not in (".gif", ".mp4"):
        raise ValueError(f"--video {path} must end in .gif or .mp4")
    if path.exists() and not force:
        raise ValueError(f"--video {path} is there already; --force replaces it")


def film(snn: SpikingQPolicy, spec: EnvSpec, seed: int, epsilon: float, path: Path) -> None:
    """
    Film one episode, or its first frames where it is very long.

    :param snn: who plays
    :param spec: where
    :param seed: of the episode
    :param epsilon: probability of a random action
    :param path: where to write
    :raises ValueError: if the environment shows no pictures
    """
    frames: list[np.ndarray] = []
    with environments(rendered(spec, "rgb_array"), snn.observation_space, snn.action_space, 1, seed) as env:

        def watch(*_: Any) -> None:
            if len(frames) < MAX_FRAMES:
                picture = env.get_images()[0]
                if picture is None:
                    raise ValueError(f"--video: {spec.id} shows no pictures")
                frames.append(picture)

        list(play(snn, env, 1, seed, epsilon, watch))
        fps = env.get_attr("metadata")[0].get("render_fps", 30)
    _write(frames, fps, path)


def rendered(spec: EnvSpec, mode: str) -> EnvSpec:
    """
    Return an environment that shows itself.

    :param spec: the environment
    :param mode: gymnasium's ``render_mode``
    """
    return dataclasses.replace(spec, kwargs={**spec.kwargs, "render_mode": mode})


def _write(frames: list[np.ndarray], fps: int, path: Path) -> None:
    from matplotlib.animation import FFMpegWriter, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = frames[0].shape[:2]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_axis_off()
    image = ax.imshow(frames[0])
    partial = path.with_name(f".partial{path.suffix}")
    writer = PillowWriter(fps=fps) if path.suffix == ".gif" else FFMpegWriter(fps=fps)
    try:
        with writer.saving(figure, str(partial), dpi=100):
            for frame in frames:
                image.set_data(frame)
                writer.grab_frame()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
