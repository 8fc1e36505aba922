"""Spiking agents of both kinds, trained and converted, behind one interface."""

from typing import Any, Protocol

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.errors import Argument, InputError
from sb3_spiking.evaluation.rollout import Player
from sb3_spiking.observations import Observation
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.randomness import randomness_untouched
from sb3_spiking.snn import Recording
from sb3_spiking.snn.operations import DecisionCost, decision_cost


class SpikingAgent(Player, Protocol):
    """An agent whose spikes can be recorded: a converted network, or a trained spiking policy."""

    @property
    def observation_space(self) -> spaces.Space: ...

    def record(self, observations: Any, state: Any = None, episode_start: np.ndarray | None = None) -> Recording:
        """
        Record the spikes of the next decisions.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :param state: state after the previous decisions; None at the start
        :param episode_start: mask of the first decisions of an episode, ``[N]``
        :return: spikes of every population, and operation counts
        """
        ...

    def cost(self, observations: Any) -> DecisionCost:
        """
        Count the operations of decisions.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :return: mean over the decisions
        """
        ...


class TrainedAgent:
    """
    The policy of a trained model as a `SpikingAgent`; it acts deterministically.

    :param policy: SB3 policy; to record its spikes, one with a spiking network
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
        Take action masks from an environment, if the policy takes any.

        :param env: environment of the next decisions
        """
        # By name: sb3-contrib, which has the class, may be missing.
        takes_masks = "MaskableActorCriticPolicy" in (base.__name__ for base in type(self.policy).__mro__)
        self._env = env if takes_masks and env.has_attr("action_masks") else None

    @property
    def masks_actions(self) -> bool:
        """Whether the environment masks actions for this policy."""
        return self._env is not None

    @property
    def is_recurrent(self) -> bool:
        """Whether the policy remembers earlier observations."""
        return "RecurrentActorCriticPolicy" in (base.__name__ for base in type(self.policy).__mro__)

    def decide(
        self, observation: Observation, state: Any = None, episode_start: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        """
        Return the deterministic actions.

        :param observation: ``[N, *shape]``, or a dict of such arrays
        :param state: state after the previous decisions; None at the start
        :param episode_start: mask of the first decisions of an episode, ``[N]``
        :return: actions, ``[N, ...]``, and the state
        """
        masks = {} if self._env is None else {"action_masks": np.stack(self._env.env_method("action_masks"))}
        return self.policy.predict(observation, state, episode_start, deterministic=True, **masks)

    def choose(self, scores: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
        """
        Replace some actions by random ones.

        :param scores: actions of `decide`, ``[N, ...]``
        :param epsilon: probability of a random action
        :return: actions, ``[N, ...]``
        :raises ValueError: if there are random actions, which the environment may mask
        """
        if epsilon == 0.0:
            return scores
        if self._env is not None:
            text = ": random actions would be invalid ones, which the environment masks"
            raise InputError(Argument("epsilon", epsilon), text)
        rng = self.action_space.np_random
        return np.stack([self.action_space.sample() if rng.random() < epsilon else action for action in scores])

    def record(
        self, observations: Observation, state: Any = None, episode_start: np.ndarray | None = None
    ) -> Recording:
        """
        Record the spikes of the next decisions, which draw the same random numbers again.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :param state: not used: every decision begins at rest
        :param episode_start: not used
        :return: spikes of every population, and operation counts
        """
        with randomness_untouched():
            return self.policy.spiking_network.record(self._features(observations))

    def cost(self, observations: Observation) -> DecisionCost:
        """
        Count the operations of decisions.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :return: mean over the decisions
        """
        with randomness_untouched():
            return decision_cost(self.policy.spiking_network, self._features(observations))

    def _features(self, observations: Observation) -> th.Tensor:
        return self.policy.spiking_features(self.policy.obs_to_tensor(observations)[0])


def as_agent(model: BaseAlgorithm | SpikingAgent) -> SpikingAgent:
    """
    Return a model as an agent; agents are returned as they are.

    :param model: trained model with a spiking policy, or an agent
    :raises TypeError: if the policy does not spike
    """
    if not isinstance(model, BaseAlgorithm):
        if hasattr(model, "record"):
            return model
        raise TypeError(f"agent={type(model).__name__} must be a model with a spiking policy, or a SpikingQPolicy")
    if not isinstance(model.policy, SpikingPolicy):
        raise TypeError(
            f"agent={type(model).__name__} with {type(model.policy).__name__} does not spike; "
            "train it with a spiking policy, or convert a DQN"
        )
    return TrainedAgent(model.policy, type(model).__name__)
