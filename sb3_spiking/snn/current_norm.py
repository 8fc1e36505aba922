"""Normalisation of the input currents of a layer, with which deep spiking layers fire."""

import torch as th
from torch import nn
from torch.nn import functional

from sb3_spiking.snn.observers import is_exporting

EPSILON = 1e-5


class CurrentNorm(nn.Module):
    """
    Layer normalisation over all the neurons of a layer, with a gain that starts at their threshold (Sun et al., 2022)::

        x <- gain (x - mean) / sqrt(variance + EPSILON) + bias            gain and bias of each channel

    It equals ``nn.GroupNorm`` with one group. torch 2.13 crashes in that on channels-last images when the gradient of
    the gain is needed and that of the images is not (frozen convolutions, TRPO).

    :param channels: number of channels of the images, or of neurons of a fully connected layer
    :param threshold: firing threshold of the neurons
    """

    def __init__(self, channels: int, threshold: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(th.full((channels,), float(threshold)))
        self.bias = nn.Parameter(th.zeros(channels))

    def forward(self, currents: th.Tensor) -> th.Tensor:
        """
        Normalise the currents of each step and decision.

        :param currents: input currents, ``[R, channels, ...]``
        :return: normalised currents, ``[R, channels, ...]``
        """
        if is_exporting():  # ONNX's older exporter does not know the shape, and no gradient is needed
            return functional.group_norm(currents, 1, self.weight, self.bias, EPSILON)
        axes = range(currents.dim())
        channels_last = currents.permute(0, *axes[2:], 1)
        shape = channels_last.shape[1:]
        gain, bias = self.weight.expand(shape), self.bias.expand(shape)
        return functional.layer_norm(channels_last, shape, gain, bias, EPSILON).permute(0, axes[-1], *axes[1:-1])
