"""The weights of SB3's value networks: which there must be, in which shapes."""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space

from sb3_spiking.snn.convolutions import convolutions

Weights = dict[str, th.Tensor]
Shapes = dict[str, tuple[int, ...]]


def online_weights(state: Mapping[str, th.Tensor], network: str) -> Weights:
    """
    Return the weights of the network that acts, leaving out its target.

    :param state: the policy's state dict
    :param network: what the network is called
    :return: its weights, without the network's name in front
    :raises ValueError: if one is no plain tensor or not finite
    """
    prefix = f"{network}."
    weights = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    for name, tensor in weights.items():
        if not _is_plain(tensor):
            raise ValueError(f"weight {name!r} is no dense float32 tensor")
        if not th.isfinite(tensor).all():
            raise ValueError(f"weight {name!r} is not finite: training has diverged, or the file is damaged")
    return weights


def _is_plain(tensor: th.Tensor) -> bool:
    """Return whether a tensor is what ``state_dict`` gives, and takes no more memory than it does in the file."""
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
    """
    Return the hidden layers behind the features extractor.

    :param weights: the online network's
    :param network: what its last layers are called
    :return: their sizes
    """
    sizes: list[int] = []
    while (name := f"{network}.{2 * len(sizes)}.weight") in weights:
        sizes.append(len(weights[name]))
    return tuple(sizes[:-1])


def check_shapes(
    weights: Weights, network: str, space: spaces.Space, extractor: str, normalized_image: bool, outputs: int
) -> None:
    """
    Refuse weights that do not fit each other, the spaces and the features extractor.

    :param weights: the online network's
    :param network: what its last layers are called
    :param space: observation space
    :param extractor: name of SB3's features extractor
    :param normalized_image: whether its images are scaled already, and so may have any bounds
    :param outputs: how many numbers the network returns
    :raises ValueError: if they do not fit; the message names what is missing, unknown or of another shape
    """
    is_dict = isinstance(space, spaces.Dict)
    if is_dict != (extractor == "CombinedExtractor"):
        raise ValueError(f"{extractor} does not take {space}")
    parts = {f"extractors.{key}.": part for key, part in space.items()} if is_dict else {"": space}
    needed: Shapes = {}
    features = 0
    for name, part in parts.items():
        if extractor != "FlattenExtractor" and is_image_space(part, normalized_image=normalized_image):
            torso, size = _nature_cnn(f"features_extractor.{name}", part.shape, weights)
            needed |= torso
            features += size
        else:
            features += int(get_flattened_obs_dim(part))
    for index, (inputs, size) in enumerate(pairwise((features, *hidden_sizes(weights, network), outputs))):
        needed |= _layer(f"{network}.{2 * index}", size, inputs)
    _compare({name: tuple(tensor.shape) for name, tensor in weights.items()}, needed)


def _nature_cnn(name: str, image: tuple[int, ...], weights: Weights) -> tuple[Shapes, int]:
    """Return the shapes of a torso for images, and its size, which only the weights tell."""
    dense = f"{name}linear.0"
    size = len(weights.get(f"{dense}.weight", ()))
    with th.device("meta"):
        layers, sizes = convolutions("nature", image)
    needed = _layer(dense, size, math.prod(sizes[-1]))
    for index, layer in enumerate(layers):
        needed |= _layer(f"{name}cnn.{2 * index}", *layer.weight.shape)
    return needed, size


def _layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _compare(shapes: Shapes, needed: Shapes) -> None:
    missing, unknown = sorted(needed.keys() - shapes.keys()), sorted(shapes.keys() - needed.keys())
    if missing or unknown:
        raise ValueError(f"the weights are not those of the policy: missing {missing}, unknown {unknown}")
    for name, shape in shapes.items():
        if shape != needed[name]:
            raise ValueError(f"weight {name!r} has shape {shape}; the other weights and the spaces need {needed[name]}")
