"""Weights of SB3's value networks: their names and shapes, checked against the spaces."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from torch import nn

from sb3_spiking.reading.budget import Budget
from sb3_spiking.snn.convolutions import ConvArch, convolutions

Weights = dict[str, th.Tensor]
Shapes = dict[str, tuple[int, ...]]

MAX_NUMBERS = 2**28
"""Weights of a network: a gigabyte."""


@dataclass(frozen=True)
class Extractor:
    """
    Features extractor as data.

    :param name: ``"FlattenExtractor"``, ``"NatureCNN"``, ``"CombinedExtractor"`` or ``"ConvExtractor"``
    :param normalized_image: whether images are scaled already, and may have any bounds
    :param conv_arch: convolutions for an image
    """

    name: str
    normalized_image: bool
    conv_arch: ConvArch


@dataclass(frozen=True)
class Torso:
    """
    Layers for an image.

    :param convolutions: convolutions by their names in the weights, on torch's meta device
    :param dense: name of the fully connected layer behind them
    :param inputs: number of inputs of that layer
    """

    convolutions: dict[str, nn.Conv2d]
    dense: str
    inputs: int


def online_weights(state: Mapping[str, th.Tensor], network: str) -> Weights:
    """
    Return the weights of the online network from the policy's state dict, without the network's name.

    :raises ValueError: if a weight is no plain tensor or not finite
    """
    prefix = f"{network}."
    weights = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    # Any number of tensors may share the same memory.
    numbers = Budget(MAX_NUMBERS, "weights")
    for name, tensor in weights.items():
        if not _is_plain(tensor):
            raise ValueError(f"weight {name!r} is no dense float32 tensor")
        numbers.take(tensor.numel())
        if not th.isfinite(tensor).all():
            raise ValueError(f"weight {name!r} is not finite: training has diverged, or the file is damaged")
    return weights


def _is_plain(tensor: th.Tensor) -> bool:
    """Return whether a tensor is as in a state dict, and takes no more memory than in the file."""
    return (
        type(tensor) is th.Tensor
        and tensor.layout is th.strided
        and tensor.device.type == "cpu"
        and tensor.dtype is th.float32
        and not tensor.is_nested
        and tensor.is_contiguous()
        and tensor.dim() > 0
        and tensor.numel() > 0
    )


def hidden_sizes(weights: Weights, network: str) -> tuple[int, ...]:
    """Return the sizes of the hidden layers behind the features extractor."""
    sizes: list[int] = []
    while (name := f"{network}.{2 * len(sizes)}.weight") in weights:
        sizes.append(len(weights[name]))
    return tuple(sizes[:-1])


def check_entries(space: spaces.Space, images: bool) -> None:
    """
    Check that a ``ConvExtractor`` is a stack of layers; it has a branch per entry of a Dict, and normalises vectors.

    :param images: whether the space has images
    :raises ValueError: if the space is a Dict, but not of a single image
    """
    if isinstance(space, spaces.Dict) and not (images and len(space) == 1):
        raise ValueError(
            f"ConvExtractor with {space} cannot be converted: its branches are no stack of layers, "
            "unless the observations are images or a Dict of one image"
        )


def image_torsos(space: spaces.Space, extractor: Extractor) -> dict[str, Torso]:
    """
    Return the layers for each image of an observation, by its name in a Dict; without a Dict the name is empty.

    :raises ValueError: if the extractor does not take the space, or its convolutions do not fit the images
    """
    if extractor.name != "ConvExtractor" and isinstance(space, spaces.Dict) != (extractor.name == "CombinedExtractor"):
        raise ValueError(f"{extractor.name} does not take {space}")
    images = {
        key: part.shape
        for key, part in _entries(space).items()
        if extractor.name != "FlattenExtractor" and is_image_space(part, normalized_image=extractor.normalized_image)
    }
    if extractor.name == "ConvExtractor":
        check_entries(space, bool(images))
    return {key: _torso(key, image, extractor) for key, image in images.items()}


def _entries(space: spaces.Space) -> Mapping[str, spaces.Space]:
    return space.spaces if isinstance(space, spaces.Dict) else {"": space}


def _torso(key: str, image: tuple[int, ...], extractor: Extractor) -> Torso:
    with th.device("meta"):
        layers, sizes = convolutions(extractor.conv_arch, image)
    inputs = math.prod(sizes[-1])
    if extractor.name == "ConvExtractor":
        # One branch: Unflatten, convolutions and ReLUs, Flatten, and the fully connected layer.
        stack = "features_extractor.torso.branches.0"
        names = [f"{stack}.{1 + 2 * index}" for index in range(len(layers))]
        return Torso(dict(zip(names, layers, strict=True)), f"{stack}.{2 + 2 * len(layers)}", inputs)
    stack = f"features_extractor.extractors.{key}" if extractor.name == "CombinedExtractor" else "features_extractor"
    names = [f"{stack}.cnn.{2 * index}" for index in range(len(layers))]
    return Torso(dict(zip(names, layers, strict=True)), f"{stack}.linear.0", inputs)


def check_shapes(
    weights: Weights, network: str, space: spaces.Space, torsos: Mapping[str, Torso], outputs: int
) -> None:
    """
    Check that weights fit each other, the observation space and the features extractor.

    :raises ValueError: if they do not fit; the message names weights that are missing, unknown or of another shape
    """
    needed: Shapes = {}
    features = 0
    for key, part in _entries(space).items():
        if key in torsos:
            torso = torsos[key]
            size = len(weights.get(f"{torso.dense}.weight", ()))  # known from the weights alone
            needed |= _layer(torso.dense, size, torso.inputs)
            for name, layer in torso.convolutions.items():
                needed |= _layer(name, *layer.weight.shape)
            features += size
        else:
            features += int(get_flattened_obs_dim(part))
    for index, (inputs, size) in enumerate(pairwise((features, *hidden_sizes(weights, network), outputs))):
        needed |= _layer(f"{network}.{2 * index}", size, inputs)
    _compare({name: tuple(tensor.shape) for name, tensor in weights.items()}, needed)


def _layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _compare(shapes: Shapes, needed: Shapes) -> None:
    missing, unknown = sorted(needed.keys() - shapes.keys()), sorted(shapes.keys() - needed.keys())
    if missing or unknown:
        raise ValueError(f"the weights are not those of the policy: missing {missing}, unknown {unknown}")
    for name, shape in shapes.items():
        if shape != needed[name]:
            raise ValueError(f"weight {name!r} has shape {shape}; the other weights and the spaces need {needed[name]}")
