"""Let a spiking agent play, and print what it reaches and what it costs."""

import argparse

import numpy as np
import torch as th

from sb3_spiking.cli import environment
from sb3_spiking.cli.agents import Agent, TrainedAgent, agent_of, entering
from sb3_spiking.cli.console import note, progress, table, warn
from sb3_spiking.cli.video import check_video, film, rendered
from sb3_spiking.conversion.report import MAX_ENVS, MAX_RECORDED
from sb3_spiking.conversion.rollout import Sample, play
from sb3_spiking.environments.recipe import environments
from sb3_spiking.printable import printable
from sb3_spiking.snn.operations import HOROWITZ_45NM, DecisionCost, nanojoules


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
    agent, spec = agent_of(args)
    if args.video is not None:
        film(agent, spec, args.seed, args.epsilon, args.video, args.quiet)
        note(f"written: {args.video}")
    shown = rendered(spec, "human") if args.render else spec
    n_envs = 1 if args.render else min(args.episodes, MAX_ENVS)
    some = Sample(MAX_RECORDED)
    returns = []
    th.manual_seed(args.seed)  # Poisson encoders draw from it.
    with (
        environments(shown, agent.observation_space, agent.action_space, n_envs, args.seed) as env,
        progress("playing episodes", args.episodes, args.quiet) as task,
    ):
        watch = lambda met, _: some.add(met)  # noqa: E731
        cut: list[int] = []
        limits = (args.max_episode_steps, cut.append)
        episodes = play(entering(agent, env), env, args.episodes, args.seed, args.epsilon, watch, *limits)
        for episode_return in episodes:
            returns.append(episode_return)
            task.advance()
    if cut:
        warn(environment.cut_text(len(cut), args.max_episode_steps))
    spread = f"{np.mean(returns):.1f} +- {np.std(returns):.1f}"
    rows = [(f"return ({len(returns)} episodes)", spread), *_network(agent), *_cost(agent.cost(some.observations()))]
    table(("", printable(args.path.name, 40)), rows)


def _network(agent: Agent) -> list[tuple[str, str]]:
    if isinstance(agent, TrainedAgent):
        options = agent.policy.spiking_options
        return [
            ("agent", f"{agent.algorithm}, {type(agent.policy).__name__}"),
            ("neuron", options.neuron),
            ("time steps", f"{options.time_steps}"),
        ]
    network = agent.network
    return [
        ("coding", network.coding.name),
        ("time steps", f"{network.coding.time_steps}"),
        ("latency [steps]", f"{network.latency}"),
    ]


def _cost(cost: DecisionCost) -> list[tuple[str, str]]:
    """Return a table of the operations of one decision."""
    return [
        ("firing rate", f"{100 * cost.mean_firing_rate:.1f} %"),
        *((f"  {population}", f"{100 * rate:.1f} %") for population, rate in cost.firing_rates.items()),
        ("spikes", f"{cost.spikes:.0f}"),
        ("accumulates", f"{cost.synops:.0f}"),
        ("multiply-accumulates", f"{cost.macs:.0f}"),
        ("energy of the arithmetic [nJ]", nanojoules(HOROWITZ_45NM.joules(cost.macs, cost.synops))),
        ("  of the ordinary ANN [nJ]", nanojoules(HOROWITZ_45NM.joules(cost.ann_macs))),
    ]
