"""
Input stages: features become the input of the fully connected spiking layers, step by step.

Features arrive as one flat vector per observation, made of one ``Part`` or several. A vector is encoded (populations
or direct currents), an image runs through spiking convolutions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch as th
from torch import nn

from sb3_spiking.snn.convolutions import convolutions
from sb3_spiking.snn.description import Source, Stage
from sb3_spiking.snn.encoders import DirectEncoder, make_encoder
from sb3_spiking.snn.layers import SpikingLayer, hidden_layer
from sb3_spiking.snn.options import SpikingOptions
from sb3_spiking.snn.signal import Signal, side_by_side


@dataclass(frozen=True)
class Part:
    """
    A piece of the flat features.

    :param name: key in a Dict observation, ``""`` for other observations
    :param shape: ``(size,)`` of a vector, ``(channels, height, width)`` of an image
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of features."""
        return prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether the part has channels, height and width."""
        return len(self.shape) == 3

    @property
    def prefix(self) -> str:
        """Prefix of the names of its populations."""
        return f"{self.name}_" if self.name else ""


class ImageInput(nn.Module):
    """
    Spiking convolutions; the image is a constant current, so the first convolution is computed once.

    :param part: image
    :param options: convolutions and neurons
    :raises ValueError: if the image is too small for the convolutions
    """

    layers: Sequence[SpikingLayer]

    def __init__(self, part: Part, options: SpikingOptions) -> None:
        from sb3_spiking.snn.execution import sparse_convolutions

        super().__init__()
        self.shape = part.shape
        self.encoder = DirectEncoder(part.size, options.time_steps)
        synapses, shapes = convolutions(options.conv_arch, part.shape)
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            hidden_layer(f"{part.prefix}conv{index}", convolution, options)
            for index, convolution in enumerate(synapses)
        )
        self.features = prod(shapes[-1])
        if len(synapses) > 1:
            sparse_convolutions.warm_up()

    def forward(self, features: th.Tensor) -> Signal:
        """
        Run all the time steps.

        :param features: pixels, ``[N, channels * height * width]``
        :return: spikes of the last convolution, ``[T, N, features]``
        """
        pixels = self.encoder(features)
        first, *others = self.layers
        spikes = first(Signal(pixels.values.reshape(1, -1, *self.shape), pixels.time_steps))
        for layer in others:
            spikes = layer(spikes)
        return Signal.of(spikes.flatten(2))


class SeveralInputs(nn.Module):
    """
    Input stages of several parts, side by side.

    :param parts: parts of the features, in their order
    :param options: encoding of the parts
    """

    def __init__(self, parts: Sequence[Part], options: SpikingOptions) -> None:
        super().__init__()
        self.sizes = [part.size for part in parts]
        self.stages = nn.ModuleList(_single_input(part, options) for part in parts)
        self.features = sum(stage.features for stage in self.stages)  # type: ignore[misc]

    def forward(self, features: th.Tensor) -> Signal:
        """
        Run all the time steps of all the parts.

        :param features: ``[N, sum of the parts' sizes]``
        :return: ``[T, N, features]``
        """
        pieces = features.split(self.sizes, dim=1)
        return side_by_side([Signal.of(stage(piece)) for stage, piece in zip(self.stages, pieces, strict=True)])


def describe_input(stage: nn.Module, parts: Sequence[Part]) -> tuple[list[Source], list[Stage], tuple[str, ...]]:
    """
    Describe an input stage.

    :param stage: module that ``make_input`` returned
    :param parts: parts of the features
    :return: its sources, its stages, and the names of its outputs
    """
    modules = stage.stages if isinstance(stage, SeveralInputs) else [stage]
    sources: list[Source] = []
    stages: list[Stage] = []
    last: list[str] = []
    start = 0
    for part, module in zip(parts, modules, strict=True):
        encoder: Any = module.encoder if isinstance(module, ImageInput) else module
        name = encoder.name if encoder.exponentials else f"{part.prefix}features"
        sources.append(Source(name, start, part.shape, encoder, encoder.exponentials))
        for layer in module.layers if isinstance(module, ImageInput) else ():
            stages.append(layer.stage((name,)))
            name = layer.name
        last.append(name)
        start += part.size
    return sources, stages, tuple(last)


def make_input(parts: Sequence[Part], options: SpikingOptions) -> nn.Module:
    """
    Make the input stage for features.

    :param parts: parts of the features, in their order, at least one
    :param options: encoding of the parts
    :return: a module of ``[N, size]`` to a signal ``[T, N, features]``, with the attribute ``features``
    :raises ValueError: if an option does not fit a part
    """
    return _single_input(parts[0], options) if len(parts) == 1 else SeveralInputs(parts, options)


def _single_input(part: Part, options: SpikingOptions) -> nn.Module:
    if part.is_image:
        return ImageInput(part, options)
    return make_encoder(
        options.encoder,
        f"{part.prefix}encoder",
        part.size,
        options.time_steps,
        options.encoder_population,
        options.mean_range,
        options.encoder_std,
    )
