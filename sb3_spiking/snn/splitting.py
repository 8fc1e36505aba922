"""
Tiles of a batch: parts that a network decides for one after the other.

What lies between the layers of one tile stays in the second-level cache, so that an observation of a large batch costs
no more than one of a small batch, forward and backward.
"""

from typing import Any, Protocol

import torch as th
from torch import nn

from sb3_spiking.snn.decoders import DECODERS, Decoder
from sb3_spiking.snn.encoders import ENCODERS
from sb3_spiking.snn.execution.backends import PLAIN_TENSORS
from sb3_spiking.snn.execution.dynamics import dynamics_of
from sb3_spiking.snn.inputs import SeveralInputs
from sb3_spiking.snn.layers import IntraConnectedLayer, SpikingLayer
from sb3_spiking.snn.observers import is_watched, operations_are_watched
from sb3_spiking.snn.options import MEMBRANE_NORMS, SpikingOptions

ROWS = 1280
"""Number of observations times time steps of a tile: with half of it each tile lays out the weights too often, with
twice as many its arrays are larger than the cache."""


class Network(Protocol):
    """Parts of a spiking network."""

    options: SpikingOptions
    encoder: Any
    layers: Any
    decoder: Decoder


def tiles(network: Network, features: th.Tensor) -> tuple[th.Tensor, ...]:
    """
    Split a batch into tiles.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: the tiles, views of the features; the batch alone where it is small, on a GPU, or where somebody may see
        that it is split
    """
    if operations_are_watched() or type(features) not in PLAIN_TENSORS or features.device.type != "cpu":
        return (features,)
    count = round(len(features) * network.options.time_steps / ROWS)
    if count < 2 or not _decides_one_by_one(network):
        return (features,)
    return features.split(-(-len(features) // count))


def _decides_one_by_one(network: Network) -> bool:
    """Tell whether each observation is decided alone by all the modules, none of which is observed or replaced."""
    encoder = network.encoder
    encoders = encoder.stages if type(encoder) is SeveralInputs else [encoder]
    parts = (encoder, network.decoder, *network.layers)
    return (
        all(type(one) in ENCODERS.values() for one in encoders)
        and type(network.decoder) is Decoder
        and type(network.decoder.statistic) in DECODERS.values()
        and all(map(_runs_one_by_one, network.layers))
        and not any(is_watched(module) for part in parts for module in part.modules())
    )


def _runs_one_by_one(layer: nn.Module) -> bool:
    return (
        type(layer) in (SpikingLayer, IntraConnectedLayer)
        and layer.penalty is None  # which depends on the whole batch
        and type(layer.synapses) is nn.Linear
        and type(layer.current_norm) in (nn.Identity, *MEMBRANE_NORMS.values())
        and not isinstance(dynamics_of(layer.neuron), str)
    )
