"""Loader for the original authors' PopSAN checkpoints."""

from collections.abc import Mapping

import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_spiking.policies.normalization import PUBLISHED_EPSILON, RunningNormExtractor
from sb3_spiking.policies.td3 import PopSANPolicy

Array = th.Tensor | np.ndarray


def load_popsan_checkpoint(
    model: OffPolicyAlgorithm, state_dict: Mapping[str, Array], obs_mean: Array, obs_var: Array
) -> None:
    """
    Load an actor trained with the code of Tang et al. (2020) into a TD3 or DDPG model.

    The names are those of the published checkpoints: ``encoder.mean``, ``encoder.std``,
    ``snn.hidden_layers.<i>.weight`` and ``.bias``, ``snn.out_pop_layer.weight`` and ``.bias``,
    ``decoder.decoder.weight`` and ``.bias``. Actor and target actor both receive the weights; the critics,
    which the checkpoints do not hold, stay as they are.

    :param model: model with ``PopSANPolicy``, ``normalize_observations`` and the checkpoint's sizes
    :param state_dict: parameters of the checkpoint, tensors or arrays
    :param obs_mean: mean of the observations, ``[obs_dim]``
    :param obs_var: variance of the observations, ``[obs_dim]``
    :raises ValueError: if the model has another policy or does not normalise, or if a parameter is missing, unknown or
        of another shape; the model is unchanged then
    """
    policy = model.policy
    if not isinstance(policy, PopSANPolicy) or not policy.normalize_observations:
        raise ValueError(f"model needs a PopSANPolicy with normalize_observations=True, not {type(policy).__name__}")
    actor = policy.actor
    names = _names(len(actor.mu.layers))
    if set(names) != set(state_dict):
        missing, unknown = sorted(set(names) - set(state_dict)), sorted(set(state_dict) - set(names))
        raise ValueError(f"state_dict does not fit net_arch={actor.net_arch}: missing {missing}, unknown {unknown}")
    own = actor.state_dict()
    loaded = {f"mu.{name}": _fit(key, state_dict[key], own[f"mu.{name}"]) for key, name in names.items()}
    loaded["features_extractor.running_mean"] = _fit("obs_mean", obs_mean, own["features_extractor.running_mean"])
    loaded["features_extractor.running_var"] = _fit("obs_var", obs_var, own["features_extractor.running_var"])
    loaded["features_extractor.running_epsilon"] = th.tensor(PUBLISHED_EPSILON)
    for network in (actor, policy.actor_target):
        network.load_state_dict({**network.state_dict(), **loaded})
    if not policy.share_features_extractor:
        for critic in (policy.critic, policy.critic_target):
            assert isinstance(critic.features_extractor, RunningNormExtractor)
            critic.features_extractor.load_state_dict(actor.features_extractor.state_dict())


def _names(layers: int) -> dict[str, str]:
    """Map the published name of each parameter to ours."""
    names = {
        "encoder.mean": "encoder.mean",
        "encoder.std": "encoder.std",
        "decoder.decoder.weight": "decoder.weight",
        "decoder.decoder.bias": "decoder.bias",
    }
    for index in range(layers):
        theirs = "out_pop_layer" if index == layers - 1 else f"hidden_layers.{index}"
        for kind in ("weight", "bias"):
            names[f"snn.{theirs}.{kind}"] = f"layers.{index}.synapses.{kind}"
    return names


def _fit(name: str, value: Array, own: th.Tensor) -> th.Tensor:
    # The published tensors have additional dimensions of size 1.
    tensor = th.as_tensor(value).squeeze()
    if tensor.shape != own.squeeze().shape:
        raise ValueError(f"{name} has shape {tuple(th.as_tensor(value).shape)}, the model needs {tuple(own.shape)}")
    return tensor.reshape(own.shape).to(own)
