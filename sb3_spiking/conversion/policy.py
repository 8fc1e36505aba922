"""Policies that decide by Q-values: the DQN as it was, and the spiking network that came from it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_spiking.conversion.dense import DenseNetwork, check_decision
from sb3_spiking.conversion.network import ConvertedNetwork
from sb3_spiking.conversion.saving import Converted, read_converted, write_converted
from sb3_spiking.reading.archive import reading
from sb3_spiking.snn import Recording
from sb3_spiking.snn.observers import operations_are_traced
from sb3_spiking.snn.operations import DecisionCost, cost_of, mean_cost
from sb3_spiking.snn.recording import synapses_of

Observation = np.ndarray | dict[str, np.ndarray]
State = tuple[np.ndarray, ...] | None
"""What a policy carries from one decision to the next, ``[N, ...]`` each."""


def features_shape(space: spaces.Space) -> tuple[int, ...]:
    """
    Return the shape of what `QPolicy.features` makes of one observation.

    :param space: observation space
    """
    match space:
        case spaces.Dict():
            entries = [features_shape(part) for part in space.spaces.values()]
            return entries[0] if len(entries) == 1 else (sum(map(math.prod, entries)),)
        case spaces.Discrete():
            return (int(space.n),)
        case spaces.MultiDiscrete():
            return (int(space.nvec.sum()),)
    return tuple(space.shape or ())


def whole_numbers(observation: Observation, space: spaces.Space) -> Observation:
    """
    Refuse fractions where observations are integers: SB3 would cut them off without a word.

    :param observation: one or several of them
    :param space: observation space
    :return: the same
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


class QPolicy(BasePolicy):
    """
    Acts by the largest Q-value, or at random now and then.

    :param network: features to Q-values
    :param observation_space: of the agent that was trained, after the environment's wrappers
    :param action_space: its actions
    :param normalize_images: whether images are divided by 255
    :param epsilon: probability of a random action where ``deterministic`` is False, in [0, 1]
    :raises ValueError: if ``epsilon`` is no probability, the network does not fit the spaces, or a decision of it would
        take absurd memory or time
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
        if not 0.0 <= epsilon <= 1.0:
            raise ValueError(f"epsilon={epsilon!r} must lie in [0, 1]")
        shape = features_shape(observation_space)
        if check_decision(network.layers, shape, self._time_steps(network)) != (action_space.n,):
            raise ValueError("its layers do not fit its actions")
        super().__init__(observation_space, action_space, normalize_images=normalize_images)
        self.network = network
        self.epsilon = epsilon

    def features(self, observations: PyTorchObs) -> th.Tensor:
        """
        Preprocess observations as SB3 does, and make one tensor of them.

        :param observations: ``[N, *shape]``, or these of each entry of a Dict
        :return: ``[N, ...]``, an image or a vector
        """
        preprocessed = preprocess_obs(observations, self.observation_space, self.normalize_images)
        if not isinstance(preprocessed, dict):
            return preprocessed
        entries = [preprocessed[key] for key in self.observation_space.spaces]
        return entries[0] if len(entries) == 1 else th.cat([entry.flatten(1) for entry in entries], dim=1)

    def features_of(self, observation: Observation) -> th.Tensor:
        """
        Return the features of observations as environments give them.

        :param observation: one or several of them
        :return: ``[N, ...]``
        :raises ValueError: if there are fractions where observations are integers
        """
        return self.features(self.obs_to_tensor(whole_numbers(observation, self.observation_space))[0])

    @th.no_grad()
    def q_values(
        self, observation: Observation, state: State = None, episode_start: np.ndarray | None = None
    ) -> tuple[np.ndarray, State]:
        """
        Return the Q-values of some observations.

        :param observation: as environments give them, ``[N, *shape]``, or these of each entry of a Dict
        :param state: what the decisions before returned; None at the start
        :param episode_start: where episodes have just begun, ``[N]``; what is carried begins anew there
        :return: ``[N, actions]``, and the state for the next decisions
        :raises ValueError: if an observation is NaN or infinite, and the policy spikes
        """
        values, after = self._decide(self.features_of(observation), state, episode_start)
        return values.cpu().numpy(), after

    def predict(
        self,
        observation: Observation,
        state: State = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, State]:
        """
        Decide.

        :param observation: one or several of them
        :param state: what the decisions before returned; None at the start
        :param episode_start: where episodes have just begun, ``[N]``
        :param deterministic: never act at random
        :return: the actions, and the state for the next decisions
        """
        values, after = self.q_values(observation, state, episode_start)
        actions = self.choose(values, 0.0 if deterministic else self.epsilon)
        return (actions if self.is_vectorized_observation(observation) else actions.squeeze(axis=0)), after

    def choose(self, q_values: np.ndarray, epsilon: float = 0.0) -> np.ndarray:
        """
        Choose actions.

        :param q_values: ``[N, actions]``
        :param epsilon: probability of a random action
        :return: ``[N]``
        """
        actions = q_values.argmax(axis=1)
        if epsilon == 0.0:
            return actions
        rng = self.action_space.np_random
        at_random = rng.random(len(actions)) < epsilon
        return np.where(at_random, rng.integers(self.action_space.n, size=len(actions)), actions)

    @staticmethod
    def _time_steps(network: Any) -> int:
        return 1

    def _decide(self, features: th.Tensor, state: State, episode_start: np.ndarray | None) -> tuple[th.Tensor, State]:
        return self.network(features), None

    def forward(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        """
        Decide from rest, as SB3's own policies do when they are called: what ``th.jit.trace`` and exporters record.

        :param observation: ``[N, *shape]``, or these of each entry of a Dict
        :param deterministic: never act at random
        :return: the actions, ``[N]``
        :raises ValueError: while it is traced or exported, if it acts at random or carries a state between decisions
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
    """The DQN that was trained; arguments are those of [`QPolicy`][sb3_spiking.conversion.policy.QPolicy]."""

    network: DenseNetwork

    @th.no_grad()
    def effective_macs(self, observations: Observation) -> float:
        """
        Count the multiplications that are not by 0.

        :param observations: ``[N, *shape]``, or these of each entry of a Dict
        :return: multiply-accumulates of a decision, the mean over all of them
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
    A converted DQN: an SB3 policy without an algorithm around it.

    ``predict``, ``evaluate_policy`` and everything else that takes a policy take it. With the ``"residual"`` coding it
    has a state between decisions, which ``predict`` returns and takes as recurrent policies do.

    :param args: see [`QPolicy`][sb3_spiking.conversion.policy.QPolicy]
    :param origin: notes on where it comes from, which are saved with it: anything that JSON can hold
    """

    network: ConvertedNetwork

    def __init__(self, *args: Any, origin: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.origin = dict(origin or {})

    def save(self, path: str | Path) -> None:
        """
        Save it as JSON and arrays; a file that is there already is replaced once the new one is complete.

        :param path: where, ``.zip`` by custom
        """
        converted = Converted(
            self.network, self.observation_space, self.action_space, self.normalize_images, self.epsilon, self.origin
        )
        write_converted(path, converted)

    @classmethod
    def load(cls, path: str | Path, device: th.device | str = "cpu") -> "SpikingQPolicy":
        """
        Load a policy; the file is data, nothing in it is unpickled or executed.

        :param path: a file that ``save`` has written
        :param device: where to decide
        :return: the policy
        :raises CheckpointError: if the file is damaged or another one
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

    def _decide(self, features: th.Tensor, state: State, episode_start: np.ndarray | None) -> tuple[th.Tensor, State]:
        if not bool(th.isfinite(features).all()):
            raise ValueError("observations must be finite in float32: there are NaN, infinite or larger values")
        values, after = self.network.decide(features, self._membranes(state, episode_start))
        return values, tuple(membrane.cpu().numpy() for membrane in after) or None

    def _membranes(self, state: State, episode_start: np.ndarray | None) -> tuple[th.Tensor, ...] | None:
        """Return the membranes with which the layers begin, None for rest."""
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
        Return what output neurons that spike would send, from rest: Q-values without what is left in membranes.

        :param observation: ``[N, *shape]``, or these of each entry of a Dict
        :return: ``[N, actions]``; 0 where the Q-value is negative
        """
        return self.network.output_spikes(self.features_of(observation)).cpu().numpy()

    @th.no_grad()
    def cost(self, observations: Observation) -> DecisionCost:
        """
        Count the operations of decisions from rest, a few at a time: of long codes there are many spikes.

        :param observations: ``[N, *shape]``, or these of each entry of a Dict
        :return: the mean over the decisions
        """
        features = self.features_of(observations)
        parts = [features[rows] for rows in self.network.parts(features)]
        return mean_cost([(len(part), cost_of(self.network.record(part))) for part in parts])

    @th.no_grad()
    def record(
        self, observations: Observation, state: State = None, episode_start: np.ndarray | None = None
    ) -> Recording:
        """
        Decide, and return every spike.

        :param observations: ``[N, *shape]``, or these of each entry of a Dict
        :param state: what ``predict`` returned for the decisions before; None for rest
        :param episode_start: where episodes have just begun, ``[N]``
        :return: populations ``"hidden0"``, ... and operation counts
        """
        features = self.features_of(observations)
        return self.network.record(features, self._membranes(state, episode_start))
