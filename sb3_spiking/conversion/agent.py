"""Loading of DQNs to convert, from zip files or models in memory."""

import copy
from pathlib import Path
from typing import Any

import stable_baselines3
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.dqn.policies import QNetwork
from torch import nn

from sb3_spiking.conversion.dense import dense_network
from sb3_spiking.conversion.policy import DenseQPolicy
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.observations import ConvExtractor
from sb3_spiking.reading.archive import reading
from sb3_spiking.reading.checkpoint import Checkpoint, NeedsCodeError, read_checkpoint
from sb3_spiking.reading.inspection import inspect_zip
from sb3_spiking.reading.saved_weights import check_entries

Source = OffPolicyAlgorithm | str | Path


def load_dqn(source: Source, trust: bool = False) -> DenseQPolicy:
    """
    Load a trained DQN or QRDQN as a policy of plain layers.

    :param source: a model, or its file, which is read as data
    :param trust: whether SB3 may load a file that needs code to be read, and run the code
    :return: policy with the agent's decisions
    :raises ValueError: if it is another algorithm's, or its network is no stack of ReLU layers
    """
    checkpoint = read_or_trust(source, trust) if isinstance(source, str | Path) else checkpoint_of(source)
    return policy_of(checkpoint)


def policy_of(checkpoint: Checkpoint) -> DenseQPolicy:
    """
    Return the policy of a checkpoint.

    :param checkpoint: content of the agent's file
    :return: policy with the agent's decisions
    :raises ValueError: if its network is no stack of ReLU layers
    """
    network = dense_network(checkpoint)
    return DenseQPolicy(
        network, checkpoint.observation_space, checkpoint.action_space, normalize_images=checkpoint.normalize_images
    )


def read_or_trust(path: str | Path, trust: bool = False) -> Checkpoint:
    """
    Read an agent's file.

    :param path: zip file written by ``model.save``
    :param trust: whether SB3 may load a file that cannot be read as data, and run the code in it
    :return: content of the file
    :raises CheckpointError: if it cannot be read
    """
    try:
        return read_checkpoint(path)
    except NeedsCodeError:
        if not trust:
            raise
    with reading(path):  # code in the file may raise anything
        return checkpoint_of(_load(path))


def _load(path: str | Path) -> OffPolicyAlgorithm:
    if not any(name.startswith("quantile_net.") for name in inspect_zip(path).tensors):
        return DQN.load(path, device="cpu")
    from sb3_contrib import QRDQN

    return QRDQN.load(path, device="cpu")


def checkpoint_of(model: OffPolicyAlgorithm) -> Checkpoint:
    """
    Return the checkpoint of a model in memory.

    :param model: DQN or QRDQN
    :return: the model as the content of a file; the weights are not copied
    :raises ValueError: if the model is another algorithm's, or has a custom network
    """
    policy: Any = model.policy
    network: Any = getattr(policy, "quantile_net", getattr(policy, "q_net", None))
    if type(network).__name__ == "QuantileNetwork":
        algorithm, quantiles = "QRDQN", network.n_quantiles
    elif type(network) is QNetwork:
        algorithm, quantiles = "DQN", None
    else:
        raise ValueError(
            f"model={type(model).__name__} with {type(policy).__name__} cannot be converted: "
            f"{'it spikes already; ' if isinstance(policy, SpikingPolicy) else ''}"
            "it must be a DQN or QRDQN with one of SB3's own policies"
        )
    extractor = type(network.features_extractor)
    if extractor not in (FlattenExtractor, NatureCNN, CombinedExtractor, ConvExtractor):
        raise ValueError(
            f"features_extractor_class={extractor.__name__} cannot be converted; only those of SB3 and "
            "sb3_spiking.policies.ConvExtractor can"
        )
    strides = {name: layer.stride[0] for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    if extractor is ConvExtractor:
        check_entries(model.observation_space, images=bool(strides))
    activation = getattr(policy.activation_fn, "__name__", str(policy.activation_fn))
    if getattr(nn, activation, None) is not policy.activation_fn:
        activation += " (not torch's)"
    weights: dict[str, th.Tensor] = network.state_dict()
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"weight {name!r} is not finite: training has diverged")
    return Checkpoint(
        algorithm=algorithm,
        policy=type(policy).__name__.replace(f"{algorithm}Policy", "MlpPolicy"),
        # Copies: playing seeds the spaces of a policy.
        observation_space=copy.deepcopy(model.observation_space),
        action_space=copy.deepcopy(model.action_space),
        net_arch=tuple(policy.net_arch),
        activation=activation,
        features_extractor=extractor.__name__,
        normalize_images=policy.normalize_images,
        n_quantiles=quantiles,
        weights=weights,
        strides=strides,
        sb3_version=stable_baselines3.__version__,
        sha256="",
        timesteps=model.num_timesteps,
    )
