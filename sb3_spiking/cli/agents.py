"""Loading of spiking agents: converted networks, and trusted models of SB3."""

import argparse
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_spiking.cli import environment
from sb3_spiking.cli.console import note
from sb3_spiking.cli.foreign import check_agent
from sb3_spiking.conversion.policy import SpikingQPolicy
from sb3_spiking.conversion.saving import is_converted
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.evaluation.agents import TrainedAgent
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.reading.archive import TRUST, CheckpointError, reading
from sb3_spiking.reading.inspection import Contents, inspect_zip
from sb3_spiking.reading.spiking_model import read_spaces

NAMED = {algorithm.__name__.lower(): algorithm for algorithm in ALGORITHMS}
CONVERTIBLE = ("DQN", "QRDQN")


Agent = TrainedAgent | SpikingQPolicy


def agent_of(args: argparse.Namespace) -> tuple[Agent, EnvRecipe]:
    """
    Load the agent of a command, and find its environment.

    :param args: parsed options
    :return: the agent and its environment
    :raises ValueError: if the file is no spiking agent or not trusted, or no environment is known
    """
    check_agent(args.path)
    if args.algo is not None and args.algo not in NAMED:
        raise ValueError(f"--algo {args.algo} is unknown; choose one of: {', '.join(NAMED)}")
    if is_converted(args.path):
        snn = SpikingQPolicy.load(args.path)
        return snn, environment.env_of_converted(args, snn)
    algorithm = _algorithm(args)
    if not args.trust:
        raise CheckpointError(f"{args.path}: is a {algorithm.__name__} model of SB3; ", *TRUST)
    # Loading takes seconds: where the spaces can be read as data, a missing environment is reported before it.
    spaces = read_spaces(args.path)
    recipe = None if spaces is None else environment.known_env_of(args, *spaces)
    environment.offer_module(inspect_zip(args.path).policy_class or "")  # may be the user's own
    agent = TrainedAgent(_load(args.path, algorithm), algorithm.__name__)
    return agent, recipe or environment.known_env_of(args, agent.observation_space, agent.action_space)


def _algorithm(args: argparse.Namespace) -> type[BaseAlgorithm]:
    """Return the algorithm of a model's file; refuse models that do not spike."""
    contents = inspect_zip(args.path)
    name = (contents.algorithm or "").lower()
    module = (contents.policy_class or "").split(".")[0]
    if module in ("stable_baselines3", "sb3_contrib"):
        raise ValueError(f"{args.path}: {_plain(contents, args.command)}")
    if args.algo is None and contents.algorithm is not None and name not in NAMED:
        missing = "needs sb3-contrib; pip install sb3-contrib" if module == "sb3_spiking" else "has no spiking policies"
        raise ValueError(f"{args.path}: is a {contents.algorithm}, which {missing}")
    if args.algo is None and contents.algorithm is None:
        if contents.policy_class is None and contents.problems:
            raise ValueError(f"{args.path}: {contents.problems[0]}")
        named = f", {contents.policy_class}" if contents.policy_class else ""
        raise ValueError(f"{args.path}: has a policy of its own{named}; say with --algo which algorithm it is for")
    return NAMED[args.algo or name]


def _plain(contents: Contents, command: str) -> str:
    """Name the command that takes an agent which does not spike."""
    if contents.algorithm in CONVERTIBLE:
        return (
            f"is a {contents.algorithm} of SB3, not a converted network; run sb3-spiking convert first, "
            f"and {command} what it writes"
        )
    model, policy = contents.algorithm or "model", (contents.policy_class or "").rpartition(".")[2]
    return f"is a {model} of SB3 with {policy}, which does not spike; {command} takes spiking agents"


def _load(path: Path, algorithm: type[BaseAlgorithm]) -> SpikingPolicy:
    policy = load_model(path, algorithm).policy
    if not isinstance(policy, SpikingPolicy):
        raise ValueError(f"{path}: the policy {type(policy).__name__} does not spike")
    return policy


def load_model(path: Path, algorithm: type[BaseAlgorithm]) -> BaseAlgorithm:
    """
    Load a trusted model of SB3 to act, without its replay buffer.

    :param path: file of the model; code in it is run
    :param algorithm: its algorithm
    :raises ValueError: if it cannot be loaded
    """
    note(f"loading {path} with {algorithm.__name__}")
    settings: dict[str, Any] = {}
    if issubclass(algorithm, OffPolicyAlgorithm):
        # Acting needs no replay buffer; that of the training may take gigabytes, need an environment, or warn.
        settings = {"buffer_size": 1, "n_steps": 1, "optimize_memory_usage": False}
        settings |= {"replay_buffer_class": None, "replay_buffer_kwargs": {}}
    with reading(path):  # code in the file may raise anything
        return algorithm.load(path, device="cpu", **settings)
