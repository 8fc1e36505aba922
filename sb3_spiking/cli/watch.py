"""Film a spiking agent beside its spikes."""

import argparse
import shutil

from sb3_spiking.cli.agents import agent_of
from sb3_spiking.cli.console import out, progress
from sb3_spiking.cli.foreign import check_agent
from sb3_spiking.cli.options import as_options
from sb3_spiking.film import check_film, film_episode

OPTIONS = {"path": "output", "overwrite": "force"}


def run(args: argparse.Namespace) -> None:
    """
    Film an episode.

    :param args: parsed options
    :raises ValueError: if an input is invalid; nothing is written then
    """
    check_agent(args.path)
    output = args.output or args.path.with_suffix(".mp4" if shutil.which("ffmpeg") else ".gif")
    with as_options(**OPTIONS):
        check_film(output, args.force)
    for option in ("frames", "fps"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise ValueError(f"--{option} {getattr(args, option)} must be at least 1")
    agent, recipe = agent_of(args)
    with progress("filming", args.frames) as advance, as_options(**OPTIONS):
        episode = film_episode(
            agent,
            recipe,
            output,
            seed=args.seed,
            max_decisions=args.frames,
            fps=args.fps,
            overwrite=args.force,
            progress=advance,
        )
    out.print(f"written: {output}, {episode}", markup=False)
