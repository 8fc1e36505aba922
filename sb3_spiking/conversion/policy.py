"""Q-value policies: the trained DQN, and the spiking network converted from it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from sb3_spiking.arguments import probability
from sb3_spiking.conversion.acting import decide_at_once
from sb3_spiking.conversion.dense import DenseNetwork, check_decision
from sb3_spiking.conversion.network import ConvertedNetwork
from sb3_spiking.conversion.saving import Converted, read_converted, write_converted
from sb3_spiking.observations import Observation, features_shape, plain_rows
from sb3_spiking.policies.action_map import ActionMap
from sb3_spiking.reading.archive import reading
from sb3_spiking.snn import Recording
from sb3_spiking.snn.description import Description
from sb3_spiking.snn.observers import is_watched, operations_are_traced, operations_are_watched
from sb3_spiking.snn.operations import DecisionCost, cost_of, mean_cost
from sb3_spiking.snn.recording import synapses_of

OWN = frozenset({"features", "features_of", "joined", "obs_to_tensor", "_decide", "_membranes"})
"""Methods of a policy that may be replaced in an instance."""

PolicyState = tuple[np.ndarray, ...] | None
"""Membranes of the hidden layers between two decisions, ``[N, ...]`` each; None at the start, or without any."""


def whole_numbers(observation: Observation, space: spaces.Space) -> Observation:
    """
    Check that observations of integer spaces are whole numbers: SB3 would truncate fractions silently.

    :param observation: one or several observations
    :param space: observation space
    :return: the same observations
    :raises ValueError: if there is a fraction
    """
    if isinstance(observation, Mapping) and isinstance(space, spaces.Dict):
        for key in observation.keys() & space.spaces.keys():
            whole_numbers(observation[key], space[key])
    elif space.dtype is not None and space.dtype.kind in "biu":
        array = np.asarray(observation)
        if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.trunc(array))).all():
            raise ValueError(f"observations of {space} must be whole numbers; there are fractions, NaN or infinity")
    return observation


class JoinedEntries(nn.Module):
    """Join the entries of a Dict observation to one vector; a single entry, or no Dict, passes unchanged."""

    def forward(self, observations: PyTorchObs) -> th.Tensor:
        """
        Join preprocessed observations.

        :param observations: ``[N, ...]``, or a dict of such tensors in the order of the space
        :return: ``[N, ...]``, an image or a vector
        """
        if not isinstance(observations, dict):
            return observations
        entries = list(observations.values())
        return entries[0] if len(entries) == 1 else th.cat([entry.flatten(1) for entry in entries], dim=1)


class QPolicy(BasePolicy):
    """
    Epsilon-greedy policy on Q-values.

    :param network: map from features to Q-values
    :param observation_space: observation space of the trained agent, after the environment's wrappers
    :param action_space: action space of the trained agent
    :param normalize_images: whether images are divided by 255
    :param epsilon: probability of a random action if ``deterministic`` is False, in [0, 1]
    :raises ValueError: if ``epsilon`` is no probability, the network does not fit the spaces, or one decision would
        take too much memory or time
    """

    network: Any
    action_space: spaces.Discrete

    def __init__(
        self,
        network: DenseNetwork | ConvertedNetwork,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        normalize_images: bool = True,
        epsilon: float = 0.0,
    ) -> None:
        probability("epsilon", epsilon)
        shape = features_shape(observation_space)
        if check_decision(network.layers, shape, self._time_steps(network)) != (action_space.n,):
            raise ValueError("its layers do not fit its actions")
        super().__init__(observation_space, action_space, normalize_images=normalize_images)
        self.network = network
        self.joined = JoinedEntries()
        self.epsilon = epsilon

    def features(self, observations: PyTorchObs) -> th.Tensor:
        """
        Preprocess observations as SB3 does, and join the entries of a Dict.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :return: ``[N, ...]``, an image or a vector
        """
        preprocessed = preprocess_obs(observations, self.observation_space, self.normalize_images)
        if isinstance(preprocessed, dict):
            preprocessed = {key: preprocessed[key] for key in self.observation_space.spaces}
        return self.joined(preprocessed)

    def features_of(self, observation: Observation) -> th.Tensor:
        """
        Return the features of an environment's observations.

        :param observation: one or several observations
        :return: ``[N, ...]``
        :raises ValueError: if there are fractions in an integer space
        """
        return self.features(self.obs_to_tensor(whole_numbers(observation, self.observation_space))[0])

    @th.no_grad()
    def q_values(
        self, observation: Observation, state: PolicyState = None, episode_start: np.ndarray | None = None
    ) -> tuple[np.ndarray, PolicyState]:
        """
        Return the Q-values of observations.

        :param observation: ``[N, *shape]``, or a dict of such arrays
        :param state: state after the previous decisions; None at the start
        :param episode_start: mask of the first decisions of an episode, ``[N]``; their state is reset
        :return: Q-values, ``[N, actions]``, and the state after the decisions
        :raises ValueError: if an observation is NaN or infinite, and the policy spikes
        """
        values, after = self._decide(self.features_of(observation), state, episode_start)
        return values.cpu().numpy(), after

    def predict(
        self,
        observation: Observation,
        state: PolicyState = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, PolicyState]:
        """
        Return the actions of observations.

        :param observation: one or several observations
        :param state: state after the previous decisions; None at the start
        :param episode_start: mask of the first decisions of an episode, ``[N]``
        :param deterministic: whether no action is random
        :return: actions, and the state after the decisions
        """
        values, after = self.q_values(observation, state, episode_start)
        actions = self.choose(values, 0.0 if deterministic else self.epsilon)
        return (actions if self.is_vectorized_observation(observation) else actions.squeeze(axis=0)), after

    def choose(self, q_values: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
        """
        Choose the greedy actions, or random ones.

        :param q_values: Q-values, ``[N, actions]``
        :param epsilon: probability of a random action
        :return: actions, ``[N]``
        """
        actions = q_values.argmax(axis=1)
        if epsilon == 0.0:
            return actions
        rng = self.action_space.np_random
        at_random = rng.random(len(actions)) < epsilon
        return np.where(at_random, rng.integers(self.action_space.n, size=len(actions)), actions)

    def enter(self, env: VecEnv) -> None:
        """Prepare for an environment: nothing to do, all the actions are valid."""

    def decide(
        self, observation: Observation, state: PolicyState, episode_start: np.ndarray | None
    ) -> tuple[np.ndarray, PolicyState]:
        """Return `q_values`, by the name that playing agents have in common."""
        return self.q_values(observation, state, episode_start)

    @staticmethod
    def _time_steps(network: Any) -> int:
        return 1

    def _decide(
        self, features: th.Tensor, state: PolicyState, episode_start: np.ndarray | None
    ) -> tuple[th.Tensor, PolicyState]:
        return self.network(features), None

    def forward(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        """
        Return the actions of decisions from rest; ``th.jit.trace`` and exporters record this method.

        :param observation: ``[N, *shape]``, or a dict of such tensors
        :param deterministic: whether no action is random
        :return: actions, ``[N]``
        :raises ValueError: while it is traced or exported, if actions are random or the policy has a state
        """
        return self._predict(observation, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        features = self.features(observation)
        if operations_are_traced():
            self._check_traceable(deterministic)
            return self.network(features).argmax(dim=1)
        values, _ = self._decide(features, None, None)
        actions = self.choose(values.cpu().numpy(), 0.0 if deterministic else self.epsilon)
        return th.as_tensor(actions, device=self.device)

    def _check_traceable(self, deterministic: bool) -> None:
        if not deterministic and self.epsilon > 0.0:
            raise ValueError(
                f"deterministic=False: random actions (epsilon={self.epsilon}) cannot be traced or exported; "
                "pass deterministic=True"
            )


class DenseQPolicy(QPolicy):
    """Policy of the trained DQN; arguments are those of [`QPolicy`][sb3_spiking.conversion.policy.QPolicy]."""

    network: DenseNetwork

    @th.no_grad()
    def effective_macs(self, observations: Observation) -> float:
        """
        Count the multiply-accumulates whose input is not 0.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :return: multiply-accumulates per decision, mean over the decisions
        """
        activation = self.features_of(observations)
        total = 0.0
        for layer, output in zip(self.network.layers, self.network.outputs(activation), strict=True):
            present = (activation.flatten(1) if isinstance(layer, nn.Linear) else activation) != 0
            total += synapses_of(layer).count(present) / len(present)
            activation = output.relu()
        return total


class SpikingQPolicy(QPolicy):
    """
    Spiking policy converted from a DQN.

    It is an SB3 policy without an algorithm: ``evaluate_policy`` and other functions of policies accept it. With the
    ``"residual"`` coding it has a state between decisions, which ``predict`` returns and takes as recurrent policies
    do.

    :param args: arguments of [`QPolicy`][sb3_spiking.conversion.policy.QPolicy]
    :param origin: notes on its origin, saved with it: anything that JSON can hold
    """

    network: ConvertedNetwork

    def __init__(self, *args: Any, origin: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.origin = dict(origin or {})

    def q_values(
        self, observation: Observation, state: PolicyState = None, episode_start: np.ndarray | None = None
    ) -> tuple[np.ndarray, PolicyState]:
        values = self._at_once(observation) if state is None else None
        return super().q_values(observation, state, episode_start) if values is None else (values, None)

    def _at_once(self, observation: Observation) -> np.ndarray | None:
        """Return the Q-values of vectors from one kernel; None where torch must compute them, or raise."""
        space = self.observation_space
        if type(self) is not SpikingQPolicy or type(space) is not spaces.Box or len(space.shape) == 3:
            return None
        if operations_are_watched() or not OWN.isdisjoint(self.__dict__):
            return None
        if not isinstance(observation, np.ndarray) or (space.dtype.kind in "biu" and observation.dtype.kind == "f"):
            return None
        rows = plain_rows(observation, space.shape)
        return None if rows is None or is_watched(self.joined) else decide_at_once(self.network, rows)

    def save(self, path: str | Path) -> None:
        """
        Save the policy as JSON and arrays; an existing file is replaced once the new one is complete.

        :param path: path of the file, ``.zip`` by custom
        """
        converted = Converted(
            self.network, self.observation_space, self.action_space, self.normalize_images, self.epsilon, self.origin
        )
        write_converted(path, converted)

    @classmethod
    def load(cls, path: str | Path, device: th.device | str = "cpu") -> "SpikingQPolicy":
        """
        Load a policy; the file is data, nothing in it is unpickled or executed.

        :param path: file written by ``save``
        :param device: device of the network
        :return: the policy
        :raises CheckpointError: if the file is damaged or of another format
        """
        saved = read_converted(path)
        with reading(path):
            policy = cls(
                saved.network,
                saved.observation_space,
                saved.action_space,
                saved.normalize_images,
                saved.epsilon,
                origin=saved.origin,
            )
        return policy.to(device)

    def describe(self) -> Description:
        """Return the description of the policy's decisions from rest; its modules are the policy's own."""
        action_map = ActionMap(self.action_space)
        return replace(self.network.describe(), preprocessing=self.joined, action_map=action_map)

    @staticmethod
    def _time_steps(network: ConvertedNetwork) -> int:
        return network.coding.time_steps

    def _check_traceable(self, deterministic: bool) -> None:
        super()._check_traceable(deterministic)
        if self.network.carries_state:
            raise ValueError(
                f"coding={self.network.coding.name!r} carries a state from decision to decision, which a traced or "
                "exported model would lose; convert with another coding"
            )

    def _decide(
        self, features: th.Tensor, state: PolicyState, episode_start: np.ndarray | None
    ) -> tuple[th.Tensor, PolicyState]:
        if not bool(th.isfinite(features).all()):
            raise ValueError("observations must be finite in float32: there are NaN, infinite or larger values")
        values, after = self.network.decide(features, self._membranes(state, episode_start))
        return values, tuple(membrane.cpu().numpy() for membrane in after) or None

    def _membranes(self, state: PolicyState, episode_start: np.ndarray | None) -> tuple[th.Tensor, ...] | None:
        """Return the initial membranes of the layers; None for rest."""
        if state is None:
            return None
        before = tuple(th.tensor(membrane, device=self.device) for membrane in state)
        if episode_start is not None:
            for membrane in before:
                membrane[th.as_tensor(episode_start, dtype=th.bool)] = self.network.coding.rest
        return before

    @th.no_grad()
    def output_spikes(self, observation: Observation) -> np.ndarray:
        """
        Return the Q-values that spiking output neurons would send, without their remaining membranes, from rest.

        :param observation: ``[N, *shape]``, or a dict of such arrays
        :return: ``[N, actions]``; 0 where the Q-value is negative
        """
        return self.network.output_spikes(self.features_of(observation)).cpu().numpy()

    @th.no_grad()
    def cost(self, observations: Observation) -> DecisionCost:
        """
        Count the operations of decisions from rest, in parts: long codes have many spikes.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :return: mean over the decisions
        """
        features = self.features_of(observations)
        parts = [features[rows] for rows in self.network.parts(features)]
        return mean_cost([(len(part), cost_of(self.network.record(part))) for part in parts])

    @th.no_grad()
    def record(
        self, observations: Observation, state: PolicyState = None, episode_start: np.ndarray | None = None
    ) -> Recording:
        """
        Record the spikes of decisions.

        :param observations: ``[N, *shape]``, or a dict of such arrays
        :param state: state that ``predict`` returned for the previous decisions; None for rest
        :param episode_start: mask of the first decisions of an episode, ``[N]``
        :return: spikes of the populations ``"hidden0"``, ... and operation counts
        """
        features = self.features_of(observations)
        return self.network.record(features, self._membranes(state, episode_start))
