"""
The description of a spiking network: an ordered list of stages between a typed front and a typed back.

Networks that were trained and networks that were converted answer with the same description. Recordings, operation
counts, plots and exporters read it and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch as th
from torch import nn

from sb3_spiking.snn.execution.choose import Execution
from sb3_spiking.snn.recording import PopulationRecord, Recording, synapses_of
from sb3_spiking.snn.signal import Signal, side_by_side


@dataclass(frozen=True)
class Source:
    """
    A source of a network: a piece of the features, and its encoder.

    :param name: name of the source, that of its population where an encoder has one
    :param start: index of its first feature
    :param shape: shape of the piece, ``(size,)`` or ``(channels, height, width)``; None for any shape
    :param encoder: module of ``[N, size]`` to a signal; None for constant currents
    :param exponentials: number of exponentials that the encoder evaluates for one decision; 0 where it has no neurons
    """

    name: str
    start: int
    shape: tuple[int, ...] | None = None
    encoder: nn.Module | None = None
    exponentials: int = 0


@dataclass(frozen=True)
class Stage:
    """
    A stage of a network: a linear map, and the population that it leads to.

    :param name: name of the population, or of the output where there is none
    :param inputs: names of the sources and stages that it reads, side by side
    :param linear: linear map, ``nn.Linear``, ``nn.Conv2d`` or a decoder
    :param neuron: neurons, a SpikingJelly node or a coding; None for an output, which does not spike
    :param fire: function of the stage's input that records the population, from rest, without a graph; None for an
        output
    :param choose: function of the stage's input that chooses how the stage runs; None for an output
    :param norm: normalisation of the currents; None without one
    :param feedback: linear map of the spikes of one step to the next step's current; None without one
    """

    name: str
    inputs: tuple[str, ...]
    linear: nn.Module
    neuron: Any = None
    fire: Callable[[Signal], PopulationRecord] | None = None
    choose: Callable[[Signal], Execution] | None = None
    norm: nn.Module | None = None
    feedback: nn.Module | None = None


@dataclass(frozen=True)
class Readout:
    """
    The back of a network: from the linear map of the last stage to outputs.

    :param statistic: statistic over the steps; None for a membrane that accumulates
    :param activation: output activation
    :param scale: factor of the outputs
    """

    statistic: Any
    activation: nn.Module | None = None
    scale: th.Tensor | None = None


@dataclass(frozen=True)
class Description:
    """
    Description of a spiking network.

    :param time_steps: number of steps ``T`` of a decision
    :param sources: sources, in the order of the features
    :param stages: stages, each after those that it reads, the output last
    :param readout: back of the network
    :param ann_macs: multiply-accumulates of the ordinary ANN in whose place the network stands; None where that ANN has
        the same layers
    :param preprocessing: module from preprocessed observations to the features, which may normalise them; None for a
        network that is described without its policy
    :param action_map: function from outputs to actions; None for a network that is described without its policy
    """

    time_steps: int
    sources: tuple[Source, ...]
    stages: tuple[Stage, ...]
    readout: Readout
    ann_macs: int | None = None
    preprocessing: nn.Module | None = None
    action_map: Callable[[th.Tensor], th.Tensor] | None = None

    @property
    def hidden(self) -> tuple[Stage, ...]:
        """Stages that spike."""
        return tuple(stage for stage in self.stages if stage.neuron is not None)


@th.no_grad()
def record(description: Description, features: th.Tensor) -> Recording:
    """
    Decide, and record every population: for plots, monitors and operation counts.

    :param description: a network
    :param features: features ``[N, size]``, or images ``[N, channels, height, width]`` of a single source
    :return: spikes and membranes of the populations, operations of the synapses
    :raises ValueError: if a feature is NaN or infinite
    """
    recording = Recording(ann_macs=description.ann_macs)
    signals: dict[str, Signal] = {}
    for source in description.sources:
        signal = signals[source.name] = _enter(source, features, description.time_steps)
        if source.exponentials:
            spikes = signal.tensor().cpu()
            recording.populations.append(PopulationRecord(source.name, spikes, exponentials=source.exponentials))
    for stage in description.stages:
        inputs = _joined([signals[name] for name in stage.inputs], stage.linear)
        recording.add_synapses(stage.name, synapses_of(stage.linear), inputs.values)
        if stage.fire is None:
            continue
        population = stage.fire(inputs)
        recording.populations.append(population)
        spikes = population.spikes.to(inputs.values)
        signals[stage.name] = Signal.of(spikes)
        if stage.feedback is not None and len(spikes) > 1:
            recording.add_synapses(f"{stage.name}_intra", synapses_of(stage.feedback), spikes[:-1])
    return recording


def executions(description: Description, features: th.Tensor) -> dict[str, Execution]:
    """
    Choose how each spiking stage runs in a decision on these features.

    :param description: a network
    :param features: features ``[N, size]``, or images ``[N, channels, height, width]`` of a single source
    :return: the choice of each stage, by its name
    """
    signals = {source.name: _enter(source, features, description.time_steps) for source in description.sources}
    choices: dict[str, Execution] = {}
    for stage in description.hidden:
        inputs = _joined([signals[name] for name in stage.inputs], stage.linear)
        assert stage.choose is not None
        assert stage.fire is not None
        choices[stage.name] = stage.choose(inputs)
        signals[stage.name] = Signal.of(stage.fire(inputs).spikes.to(inputs.values))
    return choices


def _enter(source: Source, features: th.Tensor, time_steps: int) -> Signal:
    if source.encoder is None or source.shape is None:
        return Signal(features[None], time_steps)
    size = prod(source.shape)
    signal = Signal.of(source.encoder(features[:, source.start : source.start + size]))
    if len(source.shape) == 1:
        return signal
    return Signal(signal.values.reshape(len(signal.values), -1, *source.shape), signal.time_steps)


def _joined(signals: Sequence[Signal], linear: nn.Module) -> Signal:
    """Concatenate signals, flattened unless the map is a convolution."""
    if not isinstance(linear, nn.modules.conv._ConvNd):
        signals = [Signal(signal.values.flatten(2), signal.time_steps) for signal in signals]
    return side_by_side(signals)
