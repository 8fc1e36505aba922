"""Films of an agent's episode, as GIF, or as MP4 with ffmpeg."""

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.arguments import positive_int, probability
from sb3_spiking.environments.recipe import AnyEnv
from sb3_spiking.errors import Argument, InputError
from sb3_spiking.evaluation.agents import SpikingAgent, as_agent
from sb3_spiking.evaluation.rollout import end_games, is_monitored
from sb3_spiking.files import check_writable, replacing
from sb3_spiking.film.frames import SpikeFrames
from sb3_spiking.film.rendering import frames_per_second, image_of, rendering
from sb3_spiking.plotting.axes import new_figure
from sb3_spiking.randomness import randomness_untouched


@dataclass
class FilmedEpisode:
    """
    The episode of a film, or its first decisions.

    :param decisions: number of filmed decisions
    :param score: return until the end of the film; of a whole episode, the monitor's
    :param over: whether the episode has ended
    """

    decisions: int = 0
    score: float = 0.0
    over: bool = False

    def __str__(self) -> str:
        unfinished = "" if self.over else " so far: the episode goes on"
        return f"{self.decisions} decisions, return {self.score:.4g}{unfinished}"


def film_episode(
    agent: BaseAlgorithm | SpikingAgent,
    env: AnyEnv,
    path: str | Path,
    *,
    spikes: bool = True,
    seed: int = 0,
    epsilon: float = 0.0,
    max_decisions: int = 300,
    fps: int | None = None,
    overwrite: bool = False,
    progress: Callable[[], Any] = lambda: None,
) -> FilmedEpisode:
    """
    Film one episode of a spiking agent, a frame for each decision.

    Frames are written one by one; of a GIF, the writer keeps them in memory until the end. The caller's random states
    and the statistics of a ``VecNormalize`` stay as they are.

    :param agent: trained model with a spiking policy, or a `SpikingQPolicy`
    :param env: id of the environment, or its recipe; or one environment with the render mode ``rgb_array``
    :param path: file of the film, ``.gif`` or ``.mp4``
    :param spikes: whether the spikes of the latest decisions are shown beside the environment
    :param seed: seed of the episode, and of Poisson encoders
    :param epsilon: probability of a random action, in [0, 1]
    :param max_decisions: maximum number of decisions, >= 1
    :param fps: frames per second, >= 1; the environment's own rate if None
    :param overwrite: whether an existing file may be replaced
    :param progress: function called after each frame, without arguments
    :return: length and return of the episode
    :raises ValueError: if the film cannot be written, the environment renders no images, or it does not fit the agent
    :raises TypeError: if the agent does not spike
    """
    path = Path(path)
    check_film(path, overwrite)
    positive_int("max_decisions", max_decisions)
    if fps is not None:
        positive_int("fps", fps)
    probability("epsilon", epsilon)
    player = as_agent(agent)
    episode = FilmedEpisode()
    with (
        randomness_untouched(player.action_space),
        rendering(env, player.observation_space, player.action_space, seed) as venv,
    ):
        name = env if isinstance(env, str) else getattr(env, "id", "env")
        frames = _frames(player, venv, partial(image_of, venv, name), episode, spikes, seed, epsilon, max_decisions)
        write_film(_with_progress(frames, progress), fps or frames_per_second(venv), path)
    return episode


def check_film(path: Path, overwrite: bool = False) -> None:
    """
    Check that a film can be written, before anything is played.

    :param path: file of the film
    :param overwrite: whether an existing file may be replaced
    :raises ValueError: if it cannot be written
    """
    name = Argument("path", str(path))
    if path.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise InputError(name, " needs ffmpeg, which is not installed; name a .gif")
    if path.suffix not in (".gif", ".mp4"):
        raise InputError(name, " must end in .gif or .mp4")
    if path.is_dir():
        raise InputError(name, " is a folder; name a file")
    if path.exists() and not overwrite:
        raise InputError(name, " is there already; ", Argument("overwrite", True), " replaces it")
    if not path.parent.is_dir():
        raise InputError(name, f": there is no folder {path.parent} to write to; make it, or choose another")
    check_writable(path)


def write_film(frames: Iterable[np.ndarray], fps: int, path: Path) -> None:
    """
    Write frames to a file; an existing one is replaced once the new one is complete.

    :param frames: frames of one size, at least one, ``[height, width, 3]`` of uint8; taken one by one
    :param fps: frames per second
    :param path: file of the film, ``.gif`` or ``.mp4``
    :raises ValueError: if there are no frames
    """
    from matplotlib.animation import FFMpegWriter, PillowWriter

    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("frames is empty; a film needs at least one frame")
    height, width = first.shape[:2]
    figure = new_figure(figsize=(width / 100, height / 100), dpi=100)
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_axis_off()
    image = ax.imshow(first)
    writer = PillowWriter(fps=fps) if path.suffix == ".gif" else FFMpegWriter(fps=fps)
    with replacing(path) as (partial,), writer.saving(figure, str(partial), dpi=100):
        for frame in itertools.chain([first], frames):
            image.set_data(frame)
            writer.grab_frame()


def _frames(
    agent: SpikingAgent,
    env: VecEnv,
    image: Callable[[], np.ndarray],
    episode: FilmedEpisode,
    spikes: bool,
    seed: int,
    epsilon: float,
    max_decisions: int,
) -> Iterator[np.ndarray]:
    """Play an episode, keep its description up to date, and yield a frame for each decision."""
    monitored = is_monitored(env)
    th.manual_seed(seed)  # Poisson encoders draw from it.
    env.seed(seed)
    agent.action_space.seed(seed)
    agent.enter(env)
    end_games(env)
    observations, state, starts = env.reset(), None, np.ones(1, dtype=bool)
    drawing: SpikeFrames | None = None
    while episode.decisions < max_decisions and not episode.over:
        # A frame is the state before the decision, with the spikes of that decision.
        frame = image()
        episode.decisions += 1
        if spikes:
            recording = agent.record(observations, state, starts)
            drawing = drawing or SpikeFrames(frame, recording)
            title = f"decision {episode.decisions}, return {episode.score:.4g}"
            frame = drawing.draw(frame, recording, title)
        yield frame
        scores, state = agent.decide(observations, state, starts)
        observations, rewards, starts, infos = env.step(agent.choose(scores, epsilon))
        episode.score += float(rewards[0])
        if monitored and "episode" in infos[0]:  # A life lost is no end, and rewards may be clipped.
            episode.over, episode.score = True, float(infos[0]["episode"]["r"])
        elif not monitored and starts[0]:
            episode.over = True


def _with_progress(frames: Iterable[np.ndarray], progress: Callable[[], Any]) -> Iterator[np.ndarray]:
    for frame in frames:
        yield frame
        progress()
