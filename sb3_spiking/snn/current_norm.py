"""Normalisation of the input currents of a layer: what makes deep spiking layers fire."""

import torch as th
from torch import nn
from torch.nn import functional

from sb3_spiking.snn.observers import is_exporting

EPSILON = 1e-5


class CurrentNorm(nn.Module):
    """
    Layer normalisation over all the neurons of a layer, with a gain that starts at their threshold (Sun et al., 2022)::

        x <- gain (x - mean) / sqrt(variance + EPSILON) + bias            gain and bias of each channel

    The same as ``nn.GroupNorm`` of one group. That crashes the process on channels-last images when the gradient of the
    gain is wanted and that of the images is not (torch 2.13: frozen convolutions, TRPO).

    :param channels: of the images, or neurons of a fully connected layer
    :param threshold: of the neurons
    """

    def __init__(self, channels: int, threshold: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(th.full((channels,), float(threshold)))
        self.bias = nn.Parameter(th.zeros(channels))

    def forward(self, currents: th.Tensor) -> th.Tensor:
        """
        Normalise the currents of each step and decision.

        :param currents: ``[R, channels, ...]``
        :return: of the same shape
        """
        if is_exporting():  # where no gradient is wanted, and ONNX's older exporter does not know the shape
            return functional.group_norm(currents, 1, self.weight, self.bias, EPSILON)
        axes = range(currents.dim())
        channels_last = currents.permute(0, *axes[2:], 1)
        shape = channels_last.shape[1:]
        gain, bias = self.weight.expand(shape), self.bias.expand(shape)
        return functional.layer_norm(channels_last, shape, gain, bias, EPSILON).permute(0, axes[-1], *axes[1:-1])
