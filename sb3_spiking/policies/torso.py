"""ANN counterpart of the spiking input stage, for critics and other ANNs beside a spiking network."""

from collections.abc import Sequence

import torch as th
from torch import nn

from sb3_spiking.snn import Part
from sb3_spiking.snn.convolutions import ConvArch, convolutions, dense_size


class AnnTorso(nn.Module):
    """
    Convolutions for images, the identity for vectors.

    :param parts: layout of the flat features
    :param conv_arch: see [`SpikingOptions`][sb3_spiking.snn.SpikingOptions]
    """

    def __init__(self, parts: Sequence[Part], conv_arch: ConvArch = None) -> None:
        super().__init__()
        self.sizes = [part.size for part in parts]
        self.branches = nn.ModuleList(_branch(part, conv_arch) for part in parts)
        self.features = sum(dense_size(part.shape) if part.is_image else part.size for part in parts)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Run all the branches.

        :param features: ``[N, sum of the parts' sizes]``
        :return: ``[N, features]``
        """
        pieces = features.split(self.sizes, dim=1)
        return th.cat([branch(piece) for branch, piece in zip(self.branches, pieces, strict=True)], dim=1)


def _branch(part: Part, conv_arch: ConvArch) -> nn.Module:
    if not part.is_image:
        return nn.Identity()
    layers, shapes = convolutions(conv_arch, part.shape)
    modules: list[nn.Module] = [nn.Unflatten(1, part.shape)]
    for layer in layers:
        modules += [layer, nn.ReLU()]
    last = Part("", shapes[-1]).size
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(last, dense_size(part.shape)), nn.ReLU())
