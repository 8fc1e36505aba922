"""Sizes of a saved spiking network, checked against its options and observations before anything is built."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from sb3_spiking.printable import printable
from sb3_spiking.snn import Part, SpikingOptions
from sb3_spiking.snn.convolutions import conv_layers, conv_shapes

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerSizes:
    """
    Sizes of a spiking network.

    :param parts: layout of the features
    :param populations: neurons of the input stage's populations and of all layers
    :param hidden: neurons of the hidden layers
    :param out_dim: number of outputs
    """

    parts: tuple[Part, ...]
    populations: tuple[int, ...]
    hidden: tuple[int, ...]
    out_dim: int


def layer_sizes(parts: tuple[Part, ...] | None, options: SpikingOptions, weights: Sequence[Shape]) -> LayerSizes:
    """
    Return the sizes of a network from the shapes of its weights.

    :param parts: layout of the features; None for a vector, whose size the weights tell
    :param options: options of the network
    :param weights: shapes of its weights in their order, the decoder's last; only two and four axes count
    :return: sizes
    :raises ValueError: if the weights of this network have other shapes
    """
    found = [shape for shape in weights if len(shape) in (2, 4)]
    dense = [shape for shape in found if len(shape) == 2]
    population = options.decoder_population
    outputs = 0 if population is None else 1
    if len(dense) < 2 + outputs or any(size < 1 for shape in found for size in shape):
        raise ValueError(f"the weights {_words(found)} are not those of a spiking network with a hidden layer")
    out_dim = dense[-1][0]
    hidden = [neurons for neurons, _ in dense[: len(dense) - 1 - outputs]]
    per_feature = 1 if options.encoder == "direct" else options.encoder_population
    if parts is None:
        parts = (Part("", (dense[0][1] // per_feature,)),)

    convolutions: list[Shape] = []
    populations: list[int] = []
    features = 0
    for part in parts:
        if part.is_image:
            shapes = conv_shapes(options.conv_arch, part.shape)
            layers = conv_layers(options.conv_arch, part.shape)
            convolutions += [
                (channels, inputs[0], kernel, kernel)
                for inputs, (channels, kernel, _) in zip(shapes[:-1], layers, strict=True)
            ]
            populations += map(prod, shapes[1:])
        else:
            populations.append(part.size * per_feature)
        features += populations[-1]
    sizes = [features, *hidden] + ([] if population is None else [out_dim * population])
    linear = [(size, fan_in) for fan_in, size in itertools.pairwise(sizes)]
    expected: list[Shape] = [*convolutions, *linear, (out_dim, population or hidden[-1])]
    if found != expected:
        raise ValueError(f"the weights {_words(found)} do not fit the options and observations: {_words(expected)}")
    return LayerSizes(parts, (*populations, *sizes[1:]), tuple(hidden), out_dim)


def _words(shapes: Sequence[Shape]) -> str:
    return printable(", ".join(" x ".join(map(str, shape)) for shape in shapes), 200) or "(none)"
