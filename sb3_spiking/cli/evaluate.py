"""Play episodes with a spiking agent, and print its returns and costs."""

import argparse

import numpy as np
import torch as th

from sb3_spiking.cli import environment
from sb3_spiking.cli.agents import Agent, agent_of
from sb3_spiking.cli.console import note, progress, table, warn
from sb3_spiking.cli.options import as_options, check_evaluation
from sb3_spiking.conversion.report import MAX_ENVS, MAX_RECORDED
from sb3_spiking.environments.recipe import EnvRecipe, environments
from sb3_spiking.evaluation.agents import TrainedAgent
from sb3_spiking.evaluation.rollout import play
from sb3_spiking.evaluation.states import ObservationSample
from sb3_spiking.film import check_film, film_episode
from sb3_spiking.film.rendering import with_render_mode
from sb3_spiking.printable import printable
from sb3_spiking.snn.operations import HOROWITZ_45NM, DecisionCost, nanojoules

OPTIONS = {"path": "video", "overwrite": "force"}
MAX_FRAMES = 3000


def run(args: argparse.Namespace) -> None:
    """
    Evaluate an agent.

    :param args: parsed options
    :raises ValueError: if an input is invalid
    """
    check_evaluation(args, "episodes", "max_episode_steps")
    if args.video is not None:
        with as_options(**OPTIONS):
            check_film(args.video, args.force)
    agent, recipe = agent_of(args)
    if args.video is not None:
        _film(args, agent, recipe)
    returns, cost = _play(args, agent, recipe)
    spread = f"{np.mean(returns):.1f} +- {np.std(returns):.1f}"
    rows = [(f"return ({len(returns)} episodes)", spread), *_network(agent), *_cost(cost)]
    table(("", printable(args.path.name, 40)), rows)


def _film(args: argparse.Namespace, agent: Agent, recipe: EnvRecipe) -> None:
    with progress("filming the first episode", None) as advance, as_options(**OPTIONS):
        episode = film_episode(
            agent,
            recipe,
            args.video,
            spikes=False,
            seed=args.seed,
            epsilon=args.epsilon,
            max_decisions=MAX_FRAMES,
            overwrite=args.force,
            progress=advance,
        )
    if not episode.over:
        warn(f"{args.video} shows the first {episode.decisions} decisions of the episode")
    note(f"written: {args.video}")


def _play(args: argparse.Namespace, agent: Agent, recipe: EnvRecipe) -> tuple[list[float], DecisionCost]:
    """Return the returns of all episodes, and the mean cost of a sample of their decisions."""
    shown = with_render_mode(recipe, "human") if args.render else recipe
    n_envs = 1 if args.render else min(args.episodes, MAX_ENVS)
    sample = ObservationSample(MAX_RECORDED)
    returns: list[float] = []
    cut: list[int] = []
    th.manual_seed(args.seed)  # Poisson encoders draw from it.
    with (
        environments(shown, agent.observation_space, agent.action_space, n_envs, args.seed) as env,
        progress("playing episodes", args.episodes) as advance,
    ):
        watch = lambda met, _: sample.add(met)  # noqa: E731
        limits = (args.max_episode_steps, cut.append)
        for episode_return in play(agent, env, args.episodes, args.seed, args.epsilon, watch, *limits):
            returns.append(episode_return)
            advance()
    if cut:
        warn(environment.cut_text(len(cut), args.max_episode_steps))
    return returns, agent.cost(sample.observations())


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
    """Return the rows of a table with the operations of one decision."""
    return [
        ("firing rate", f"{100 * cost.mean_firing_rate:.1f} %"),
        *((f"  {population}", f"{100 * rate:.1f} %") for population, rate in cost.firing_rates.items()),
        ("spikes", f"{cost.spikes:.0f}"),
        ("accumulates", f"{cost.synops:.0f}"),
        ("multiply-accumulates", f"{cost.macs:.0f}"),
        ("energy of the arithmetic [nJ]", nanojoules(HOROWITZ_45NM.joules(cost.macs, cost.synops))),
        ("  of the ordinary ANN [nJ]", nanojoules(HOROWITZ_45NM.joules(cost.ann_macs))),
    ]
