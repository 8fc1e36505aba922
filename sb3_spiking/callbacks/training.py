"""Access of callbacks to a training: its spiking policy, and observations that the agent has met."""

from typing import Any, TypeGuard

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.her import HerReplayBuffer

from sb3_spiking.observations import each_entry
from sb3_spiking.policies.common import SpikingPolicy

MAX_DECISIONS = 256


def spiking_policy(callback: BaseCallback) -> SpikingPolicy:
    policy = callback.model.policy
    if not isinstance(policy, SpikingPolicy):
        raise ValueError(f"{type(callback).__name__} needs a spiking policy, not {type(policy).__name__}")
    return policy


def observations_met(callback: BaseCallback) -> PyTorchObs:
    """Return some of the observations that the agent met."""
    model = callback.model
    if isinstance(model, OffPolicyAlgorithm) and can_be_sampled(model.replay_buffer):
        size = min(MAX_DECISIONS, model.replay_buffer.size())
        return model.replay_buffer.sample(size, env=model.get_vec_normalize_env()).observations
    met: Any = model._last_obs
    if isinstance(model, OnPolicyAlgorithm) and model.rollout_buffer.pos > 0:
        met = each_entry(model.rollout_buffer.observations, lambda all_of: _last(all_of[: model.rollout_buffer.pos]))
    return each_entry(met, lambda array: th.as_tensor(array, device=model.device))


def can_be_sampled(buffer: ReplayBuffer | None) -> TypeGuard[ReplayBuffer]:
    """
    Return whether a replay buffer can be sampled.

    :param buffer: replay buffer of an off-policy algorithm
    :return: False for an empty buffer, and for a hindsight buffer before an episode has ended
    """
    if isinstance(buffer, HerReplayBuffer):
        return bool(buffer.ep_length.any())
    return buffer is not None and buffer.size() > 0


def _last(rollout: np.ndarray) -> np.ndarray:
    """Return the last decisions of ``[steps, environments, *shape]`` as one batch."""
    return rollout.reshape(-1, *rollout.shape[2:])[-MAX_DECISIONS:]
