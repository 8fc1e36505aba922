"""Film a spiking agent beside its spikes."""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.cli.agents import Agent, agent_of, entering
from sb3_spiking.cli.console import Task, out, progress
from sb3_spiking.cli.foreign import check_agent
from sb3_spiking.cli.screen import Screen
from sb3_spiking.cli.video import check_video, filmed, frames_per_second, picture, write
from sb3_spiking.environments.recipe import EnvRecipe


@dataclass
class Episode:
    """
    An episode that is being filmed.

    :param decisions: number of decisions so far
    :param score: sum of the rewards so far
    :param over: whether it has ended
    """

    decisions: int = 0
    score: float = 0.0
    over: bool = False

    def __str__(self) -> str:
        unfinished = "" if self.over else " so far: the episode goes on"
        return f"{self.decisions} decisions, return {self.score:.4g}{unfinished}"


def run(args: argparse.Namespace) -> None:
    """
    Film.

    :param args: parsed options
    :raises ValueError: if something is not as it should be; nothing is written then
    """
    check_agent(args.path)
    output = args.output or args.path.with_suffix(".mp4" if shutil.which("ffmpeg") else ".gif")
    check_video(output, args.force, "--output")
    for option in ("frames", "fps"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ValueError(f"--{option} {getattr(args, option)} must be at least 1")
    agent, spec = agent_of(args)
    episode = Episode()
    with (
        filmed(spec, agent.observation_space, agent.action_space, args.seed) as env,
        progress("filming", args.frames, args.quiet) as task,
    ):
        frames = shots(agent, env, spec, episode, args.seed, args.frames, task)
        write(frames, args.fps or frames_per_second(env), output)
    out.print(f"written: {output}, {episode}", markup=False)


def shots(
    agent: Agent, env: VecEnv, spec: EnvRecipe, episode: Episode, seed: int, frames: int, task: Task
) -> Iterator[np.ndarray]:
    """
    Play an episode and yield a frame for each decision: the environment, and the spikes until then.

    :param agent: the agent
    :param env: a filmed environment
    :param spec: its description
    :param episode: the episode's progress, kept up to date
    :param seed: seed of the episode
    :param frames: maximum number of decisions
    :param task: progress display
    :return: ``[height, width, 3]`` of uint8
    """
    th.manual_seed(seed)  # Poisson encoders draw from it.
    env.seed(seed)
    player, observations = entering(agent, env), env.reset()
    screen: Screen | None = None
    state: Any = None
    starts = np.ones(1, dtype=bool)
    while episode.decisions < frames and not episode.over:
        image, recording = picture(env, spec), player.record(observations, state, starts)
        screen = screen or Screen(image, recording)
        episode.decisions += 1
        yield screen.shot(image, recording, f"decision {episode.decisions}, return {episode.score:.4g}")
        task.advance()
        actions, state = player.predict(observations, state, starts, deterministic=True)
        observations, rewards, starts, infos = env.step(actions)
        episode.score += float(rewards[0])
        if "episode" in infos[0]:  # The monitor's: a life lost is no end, and clipped rewards are not counted.
            episode.over, episode.score = True, float(infos[0]["episode"]["r"])
