"""Stacks of convolutions, spiking or not: layers by name, and the shapes of their outputs."""

import itertools
from collections.abc import Sequence
from math import prod

from torch import nn

from sb3_spiking.arguments import choice, positive_int

CONV_ARCHS: dict[str, Sequence[Sequence[int]]] = {
    "nature": ((32, 8, 4), (64, 4, 2), (64, 3, 1)),
    "small": ((16, 3, 1),),
}
"""Layers of ``[channels, kernel size, stride]``, without padding.

``"nature"`` is for images of 36 x 36 pixels and more (Mnih et al., 2015), ``"small"`` for grids of 10 x 10 (MinAtar;
Young and Tian, 2019)."""

NATURE_SIZE = 36

ConvArch = str | Sequence[Sequence[int]] | None
"""A name in ``CONV_ARCHS`` or a list of layers; None chooses by the size of the image."""


def convolutions(conv_arch: ConvArch, shape: tuple[int, ...]) -> tuple[list[nn.Conv2d], list[tuple[int, ...]]]:
    """
    Make the convolutions for an image.

    :param conv_arch: name or layers of the stack
    :param shape: ``(channels, height, width)`` of the image
    :return: the convolutions, and the shape of the output of each
    :raises ValueError: if the name is unknown, a layer has another form, or the image is too small
    """
    layers, shapes = conv_layers(conv_arch, shape), conv_shapes(conv_arch, shape)
    made = [
        nn.Conv2d(inputs[0], channels, kernel, stride)
        for inputs, (channels, kernel, stride) in zip(shapes[:-1], layers, strict=True)
    ]
    return made, shapes[1:]


def conv_shapes(conv_arch: ConvArch, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """
    Return the shapes of the images between the convolutions.

    :param conv_arch: name or layers of the stack
    :param shape: ``(channels, height, width)`` of the image
    :return: shape of the image, then of the output of each convolution
    :raises ValueError: if the name is unknown, a layer has another form, or the image is too small
    """
    shapes = [shape]
    for channels, kernel, stride in conv_layers(conv_arch, shape):
        _, height, width = shapes[-1]
        if min(height, width) < kernel:
            raise ValueError(
                f"conv_arch={conv_arch!r} is too deep for images of {shape[1]} x {shape[2]}: "
                f"a kernel of {kernel} meets {height} x {width}"
            )
        shapes.append((channels, (height - kernel) // stride + 1, (width - kernel) // stride + 1))
    return shapes


def conv_macs(conv_arch: ConvArch, shape: tuple[int, ...]) -> int:
    """
    Count the multiply-accumulates of the convolutions of one image.

    :param conv_arch: name or layers of the stack
    :param shape: ``(channels, height, width)`` of the image
    :return: number of multiply-accumulates, biases not counted
    """
    pairs = zip(itertools.pairwise(conv_shapes(conv_arch, shape)), conv_layers(conv_arch, shape), strict=True)
    return sum(inputs[0] * kernel**2 * prod(outputs) for (inputs, outputs), (_, kernel, _) in pairs)


def conv_layers(conv_arch: ConvArch, shape: tuple[int, ...]) -> list[list[int]]:
    """
    Return the layers of a stack.

    :param conv_arch: name or layers of the stack
    :param shape: ``(channels, height, width)`` of the image
    :return: ``[channels, kernel size, stride]`` of each layer
    :raises ValueError: if the name is unknown or a layer has another form
    """
    if conv_arch is None:
        conv_arch = "nature" if min(shape[1:]) >= NATURE_SIZE else "small"
    layers = choice("conv_arch", conv_arch, CONV_ARCHS) if isinstance(conv_arch, str) else conv_arch
    if not isinstance(layers, list | tuple) or not layers:
        raise ValueError(
            f"conv_arch={conv_arch!r} must be one of {', '.join(map(repr, CONV_ARCHS))}, or a list of layers"
        )
    for layer in layers:
        if not isinstance(layer, list | tuple) or len(layer) != 3:
            raise ValueError(f"conv_arch={conv_arch!r}: a layer is [channels, kernel size, stride], not {layer!r}")
    return [[positive_int("conv_arch", number) for number in layer] for layer in layers]


def dense_size(shape: tuple[int, ...]) -> int:
    """
    Return the size of the first fully connected layer behind the convolutions: 512 (DQN) or 128 (MinAtar).

    :param shape: ``(channels, height, width)`` of the image
    :return: number of neurons
    """
    return 512 if min(shape[1:]) >= NATURE_SIZE else 128
