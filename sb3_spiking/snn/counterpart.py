"""Operations of the ordinary ANN in whose place a spiking network stands, for comparison."""

import itertools
from collections.abc import Sequence
from math import prod

from sb3_spiking.snn.convolutions import ConvArch, conv_macs, conv_shapes
from sb3_spiking.snn.inputs import Part


def ann_macs(parts: Sequence[Part], net_arch: Sequence[int], out_dim: int, conv_arch: ConvArch = None) -> int:
    """
    Count the multiply-accumulates of the ordinary ANN for one decision.

    The ANN has the same convolutions and hidden layers, but no populations: its first fully connected layer reads the
    features, and its last one returns the outputs. For vectors these are the layers of SB3's ``MlpPolicy`` with this
    ``net_arch``. Biases are not counted.

    :param parts: parts of the features, in their order
    :param net_arch: sizes of the hidden layers
    :param out_dim: number of outputs
    :param conv_arch: convolutions of the images
    :return: number of multiply-accumulates
    """
    convolved = sum(conv_macs(conv_arch, part.shape) for part in parts if part.is_image)
    features = sum(prod(conv_shapes(conv_arch, part.shape)[-1]) if part.is_image else part.size for part in parts)
    return convolved + sum(fan_in * size for fan_in, size in itertools.pairwise([features, *net_arch, out_dim]))
