"""The spiking agents that commands let play: converted networks, and models of SB3 that are trusted."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.cli import environment
from sb3_spiking.cli.console import note
from sb3_spiking.cli.foreign import check_agent
from sb3_spiking.conversion.policy import Observation, SpikingQPolicy
from sb3_spiking.conversion.saving import is_converted
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.randomness import randomness_untouched
from sb3_spiking.reading.archive import TRUST, CheckpointError, reading
from sb3_spiking.reading.inspection import Contents, inspect_zip
from sb3_spiking.reading.spiking_model import read_spaces
from sb3_spiking.snn import Recording
from sb3_spiking.snn.operations import DecisionCost, decision_cost

NAMED = {algorithm.__name__.lower(): algorithm for algorithm in ALGORITHMS}
CONVERTIBLE = ("DQN", "QRDQN")


class TrainedAgent:
    """
    A spiking policy that SB3 has trained, with the answers that a converted one gives.

    :param policy: the policy
    :param algorithm: name of its algorithm
    """

    def __init__(self, policy: Any, algorithm: str) -> None:
        self.policy = policy
        self.algorithm = algorithm
        self.observation_space: spaces.Space = policy.observation_space
        self.action_space: spaces.Space = policy.action_space
        self._env: VecEnv | None = None

    def enter(self, env: VecEnv) -> None:
        """
        Ask an environment for its action masks from now on, where the policy takes any.

        :param env: where the agent plays
        """
        # By name: sb3-contrib, which has the class, may be missing.
        takes_masks = "MaskableActorCriticPolicy" in (base.__name__ for base in type(self.policy).__mro__)
        self._env = env if takes_masks and env.has_attr("action_masks") else None

    def predict(self, observation: Observation, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        """
        Decide, as SB3's policy does.

        :param observation: ``[N, *shape]``, or these of each entry of a Dict
        :param args: state and episode starts, as SB3 has them
        :param kwargs: whether to act deterministically
        :return: actions ``[N, ...]``, and the state
        """
        if self._env is not None:
            kwargs["action_masks"] = np.stack(self._env.env_method("action_masks"))
        return self.policy.predict(observation, *args, **kwargs)

    def q_values(self, observation: Observation, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """
        Return what `choose` takes: the actions themselves.

        :param observation: ``[N, *shape]``, or these of each entry of a Dict
        :param state: the state
        :param episode_start: where episodes have just begun, ``[N]``
        :return: actions ``[N, ...]``, and the state
        """
        return self.predict(observation, state, episode_start, deterministic=True)

    def choose(self, actions: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
        """
        Replace some actions by random ones.

        :param actions: ``[N, ...]``
        :param epsilon: probability of a random action
        :return: ``[N, ...]``
        """
        if epsilon == 0.0:
            return actions
        if self._env is not None:
            raise ValueError(f"--epsilon {epsilon}: random actions would be invalid ones, which the environment masks")
        rng = self.action_space.np_random
        return np.stack([self.action_space.sample() if rng.random() < epsilon else action for action in actions])

    def record(self, observations: Observation, *_: Any) -> Recording:
        """
        Return the spikes of the next decision, which is then made with the same random numbers.

        :param observations: ``[N, *shape]``, or these of each entry of a Dict
        :return: what every population does
        """
        with randomness_untouched():
            return self.policy.spiking_network.record(self._features(observations))

    def cost(self, observations: Observation) -> DecisionCost:
        """
        Count the operations of decisions.

        :param observations: ``[N, *shape]``, or these of each entry of a Dict
        :return: the mean over the decisions
        """
        with randomness_untouched():
            return decision_cost(self.policy.spiking_network, self._features(observations))

    def _features(self, observations: Observation) -> th.Tensor:
        return self.policy.spiking_features(self.policy.obs_to_tensor(observations)[0])


Agent = TrainedAgent | SpikingQPolicy


def agent_of(args: argparse.Namespace) -> tuple[Agent, EnvRecipe]:
    """
    Return the agent that a command names, and its environment.

    :param args: parsed options
    :return: the agent, and where it plays
    :raises ValueError: if it is no spiking agent or not trusted, or no environment is known
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
    # What is missing is said before SB3 has worked for seconds, where the spaces can be read without it.
    spaces = read_spaces(args.path)
    spec = None if spaces is None else environment.known_env_of(args, *spaces)
    environment.offer_module(inspect_zip(args.path).policy_class or "")  # of the user's own, perhaps
    agent = TrainedAgent(_load(args.path, algorithm), algorithm.__name__)
    return agent, spec or environment.known_env_of(args, agent.observation_space, agent.action_space)


def entering(agent: Agent, env: VecEnv) -> Any:
    """
    Let an agent see what it needs of an environment beside the observations.

    :param agent: the agent
    :param env: where it plays next
    :return: the agent
    """
    if isinstance(agent, TrainedAgent):
        agent.enter(env)
    return agent


def _algorithm(args: argparse.Namespace) -> type[BaseAlgorithm]:
    """Return the algorithm to load a model with, and refuse one that does not spike."""
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
    """Say which command is for an agent that does not spike."""
    if contents.algorithm in CONVERTIBLE:
        return (
            f"is a {contents.algorithm} of SB3, not a converted network; run sb3-spiking convert first, "
            f"and {command} what it writes"
        )
    model, policy = contents.algorithm or "model", (contents.policy_class or "").rpartition(".")[2]
    return f"is a {model} of SB3 with {policy}, which does not spike; {command} takes spiking agents"


def _load(path: Path, algorithm: type[BaseAlgorithm]) -> SpikingPolicy:
    note(f"loading {path} with {algorithm.__name__}")
    settings: dict[str, Any] = {}
    if issubclass(algorithm, OffPolicyAlgorithm):
        # To act needs no replay buffer; the one of the training may need gigabytes, an environment or a warning.
        settings = {"buffer_size": 1, "n_steps": 1, "optimize_memory_usage": False}
        settings |= {"replay_buffer_class": None, "replay_buffer_kwargs": {}}
    with reading(path):  # which may fail in any way, as its author pleases
        policy = algorithm.load(path, device="cpu", **settings).policy
    if not isinstance(policy, SpikingPolicy):
        raise ValueError(f"{path}: the policy {type(policy).__name__} does not spike")
    return policy
