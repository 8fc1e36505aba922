"""Let a converted network play, and print what it reaches and what it costs.

The environment is taken from --env, else from what was noted at the conversion.
"""

import argparse
from pathlib import Path

import numpy as np

from sb3_spiking.cli import environment
from sb3_spiking.cli.console import note, progress, table, warn
from sb3_spiking.cli.video import check_video, film, rendered
from sb3_spiking.conversion.environment import environments
from sb3_spiking.conversion.policy import SpikingQPolicy
from sb3_spiking.conversion.report import MAX_ENVS, MAX_RECORDED
from sb3_spiking.conversion.rollout import Sample, play
from sb3_spiking.energy import HOROWITZ_45NM, DecisionCost, nanojoules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="dqn_snn.zip", help="what convert has written")
    environment.add_arguments(parser)
    parser.add_argument("--episodes", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the first episode (default: 0)")
    parser.add_argument("--epsilon", type=float, default=0.0, help="probability of a random action (default: 0)")
    environment.add_step_limit(parser)
    parser.add_argument("--render", action="store_true", help="show the episodes, one at a time")
    parser.add_argument("--video", type=Path, metavar="FILE", help="film the first episode, .gif or (with ffmpeg) .mp4")
    parser.add_argument("--force", action="store_true", help="replace a video that is there already")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> None:
    """
    Evaluate.

    :param args: parsed options
    :raises ValueError: if something is not as it should be
    """
    for option in ("episodes", "max_episode_steps"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option.replace('_', '-')} {getattr(args, option)} must be at least 1")
    if not 0.0 <= args.epsilon <= 1.0:
        raise ValueError(f"--epsilon {args.epsilon} must lie in [0, 1]")
    if args.video is not None:
        check_video(args.video, args.force)
    snn = SpikingQPolicy.load(args.path)
    spec = environment.env_of_converted(args, snn)
    if args.video is not None:
        film(snn, spec, args.seed, args.epsilon, args.video, args.quiet)
        note(f"written: {args.video}")
    shown = rendered(spec, "human") if args.render else spec
    n_envs = 1 if args.render else min(args.episodes, MAX_ENVS)
    some = Sample(MAX_RECORDED)
    returns = []
    with (
        environments(shown, snn.observation_space, snn.action_space, n_envs, args.seed) as env,
        progress("playing episodes", args.episodes, args.quiet) as task,
    ):
        watch = lambda met, _: some.add(met)  # noqa: E731
        cut: list[int] = []
        limits = (args.max_episode_steps, cut.append)
        for episode_return in play(snn, env, args.episodes, args.seed, args.epsilon, watch, *limits):
            returns.append(episode_return)
            task.advance()
    if cut:
        warn(environment.cut_text(len(cut), args.max_episode_steps))
    table(("", args.path.name), _rows(snn, returns, snn.cost(some.observations())))


def _rows(snn: SpikingQPolicy, returns: list[float], cost: DecisionCost) -> list[tuple[str, str]]:
    return [
        (f"return ({len(returns)} episodes)", f"{np.mean(returns):.1f} +- {np.std(returns):.1f}"),
        ("coding", snn.network.coding.name),
        ("time steps", f"{snn.network.coding.time_steps}"),
        ("latency [steps]", f"{snn.network.latency}"),
        ("spikes", f"{cost.spikes:.0f}"),
        ("firing rate", f"{100 * cost.mean_firing_rate:.1f} %"),
        ("accumulates", f"{cost.synops:.0f}"),
        ("multiply-accumulates", f"{cost.macs:.0f}"),
        ("energy of the arithmetic [nJ]", nanojoules(HOROWITZ_45NM.joules(cost.macs, cost.synops))),
        ("  of the ordinary ANN [nJ]", nanojoules(HOROWITZ_45NM.joules(cost.ann_macs))),
    ]
