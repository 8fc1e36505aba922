"""The converted network: layers of a DQN with spiking neurons between them."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch as th
from torch import nn

from sb3_spiking.conversion.codings import Coding
from sb3_spiking.conversion.dense import DenseNetwork, Layer, apply
from sb3_spiking.snn import PopulationRecord, Recording
from sb3_spiking.snn.description import Description, Readout, Source, Stage, record
from sb3_spiking.snn.execution.choose import Execution
from sb3_spiking.snn.observers import operations_are_traced
from sb3_spiking.snn.signal import Signal

Membranes = tuple[th.Tensor, ...]
"""Initial membranes of each spiking layer for one decision, ``[N, ...]`` each."""

MAX_VALUES = 2**24
"""Limit of the spikes of a layer in memory; larger batches are divided."""


class ConvertedNetwork(nn.Module):
    """
    Spiking layers, and an output layer that accumulates and does not spike.

    The thresholds are folded into the weights: activations, and the spikes that represent them, lie in [0, 1].

    :param layers: ``nn.Linear`` and ``nn.Conv2d``, the output layer last
    :param output_scale: Q-value of an accumulated output of 1
    :param coding: representation of activations by spikes
    """

    layers: Sequence[Layer]
    output_scale: th.Tensor

    def __init__(self, layers: Sequence[Layer], output_scale: th.Tensor, coding: Coding) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.register_buffer("output_scale", output_scale)
        self.coding = coding

    @property
    def latency(self) -> int:
        """Number of time steps from an observation to its decision."""
        return self.coding.latency(len(self.layers) - 1)

    @property
    def carries_state(self) -> bool:
        """Whether a decision depends on previous ones."""
        return type(self.coding).residue is not Coding.residue

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Return the Q-values of decisions from rest.

        :param features: preprocessed observations, ``[N, ...]``
        :return: ``[N, actions]``
        """
        return self.decide(features, None)[0]

    def decide(self, features: th.Tensor, state: Membranes | None) -> tuple[th.Tensor, Membranes]:
        """
        Return the Q-values, and the initial membranes of the next decisions.

        :param features: preprocessed observations, ``[N, ...]``
        :param state: initial membranes that the previous decisions returned; None at the start
        :return: Q-values, ``[N, actions]``, and membranes; none for codings that begin each decision at rest
        """
        values, states = [], []
        for rows in self.parts(features):
            before = tuple(membrane[rows] for membrane in state) if state else None
            *hidden, output = self._layers(features[rows], before)
            values.append(self.coding.readout(output.drive))
            residues = [self.coding.residue(layer.drive, layer.spikes) for layer in hidden]
            states.append([residue for residue in residues if residue is not None])
        return th.cat(values) * self.output_scale, tuple(th.cat(membranes) for membranes in zip(*states, strict=True))

    def readouts(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Return both readouts of decisions from rest, in one run.

        :param features: preprocessed observations, ``[N, ...]``
        :return: Q-values, ``[N, actions]``; and Q-values of spiking output neurons, without their remaining membranes,
            ``[N, actions]``, from 0 to ``output_scale``
        """
        values, sent = [], []
        for rows in self.parts(features):
            *_, output = self._layers(features[rows])
            values.append(self.coding.readout(output.drive))
            sent.append(self.coding.decode(self.coding.fire(output.drive)))
        return th.cat(values) * self.output_scale, th.cat(sent) * self.output_scale

    def output_spikes(self, features: th.Tensor) -> th.Tensor:
        """
        Return the Q-values of spiking output neurons, the second of the `readouts`.

        :param features: preprocessed observations, ``[N, ...]``
        :return: ``[N, actions]``, from 0 to ``output_scale``
        """
        return self.readouts(features)[1]

    def activations(self, features: th.Tensor) -> list[th.Tensor]:
        """
        Return the activations that the spikes of each hidden layer represent, from rest.

        :param features: preprocessed observations, ``[N, ...]``
        :return: activations of each hidden layer, ``[N, ...]``, from 0 to 1
        """
        *hidden, _ = self._layers(features)
        return [self.coding.decode(layer.spikes) for layer in hidden]

    def describe(self, state: Membranes | None = None) -> Description:
        """
        Return the description.

        :param state: initial membranes that the previous decisions returned; None for rest
        :return: the description; its modules are the network's own
        """
        first = self.layers[0]
        shape = (first.in_features,) if isinstance(first, nn.Linear) else None
        stages: list[Stage] = []
        before = "features"
        for index, layer in enumerate(self.layers[:-1]):
            name, initial = f"hidden{index}", None if state is None else state[index]
            stages.append(
                Stage(name, (before,), layer, self.coding, partial(self._population, index, initial), self._choose)
            )
            before = name
        stages.append(Stage("output", (before,), self.layers[-1]))
        readout = Readout(None, scale=self.output_scale)
        return Description(self.coding.time_steps, (Source("features", 0, shape),), tuple(stages), readout)

    def _choose(self, inputs: Signal) -> Execution:
        return self.coding.choose(inputs.values)

    def _population(self, index: int, initial: th.Tensor | None, inputs: Signal) -> PopulationRecord:
        """Run a spiking layer from its initial membranes; the first one receives numbers."""
        synapses = partial(apply, self.layers[index])
        if index == 0:
            drive = self.coding.constant_drive(synapses(inputs.values[0]))
        else:
            drive = self.coding.drive(synapses, inputs.values)
        return PopulationRecord(f"hidden{index}", self.coding.fire(drive, initial).cpu())

    def record(self, features: th.Tensor, state: Membranes | None = None) -> Recording:
        """
        Record the spikes and operation counts of decisions.

        :param features: preprocessed observations, ``[N, ...]``
        :param state: initial membranes that the previous decisions returned; None for rest
        :return: populations ``"hidden0"``, ..., without their membranes
        """
        return record(self.describe(state), features)

    def parts(self, features: th.Tensor) -> list[slice]:
        """
        Divide a batch into parts whose spikes fit into memory.

        :param features: preprocessed observations, ``[N, ...]``
        :return: consecutive rows
        """
        if operations_are_traced():
            return [slice(None)]  # a traced model takes batches of any size
        if len(features) <= 1:
            return [slice(0, 1)]
        one, widest = features[:1], 1
        for layer in self.layers:
            one = apply(layer, one)
            widest = max(widest, one.numel())
        rows = max(1, MAX_VALUES // (widest * self.coding.time_steps))
        return [slice(start, start + rows) for start in range(0, len(features), rows)]

    def _layers(self, features: th.Tensor, state: Membranes | None = None) -> Iterator["_Step"]:
        """Run the layers in order; the last one does not spike."""
        drive = self.coding.constant_drive(apply(self.layers[0], features))
        for index, synapses in enumerate(self.layers[1:]):
            spikes = self.coding.fire(drive, None if state is None else state[index])
            yield _Step(drive, spikes)
            drive = self.coding.drive(partial(apply, synapses), spikes)
        yield _Step(drive, drive.new_empty(0))


class _Step(NamedTuple):
    """Drive and spikes of a layer."""

    drive: th.Tensor
    spikes: th.Tensor


def convert_layers(network: DenseNetwork, thresholds: Sequence[th.Tensor], coding: Coding) -> ConvertedNetwork:
    """
    Insert spiking neurons between the layers, and fold their thresholds into the weights.

    Inputs of a neuron are divided by its threshold, and its outputs are multiplied by it.

    :param network: the DQN; it is not changed
    :param thresholds: thresholds of each layer's neurons or channels, the outputs' last; see ``calibration.thresholds``
    :param coding: representation of activations by spikes
    :return: the network, without gradients
    """
    layers: list[Layer] = []
    sent: th.Tensor | None = None
    for layer, threshold in zip(network.layers, thresholds, strict=True):
        folded = copy.deepcopy(layer)
        weight = folded.weight.data
        if sent is not None:
            # Views: the kernels of each input channel, or the inputs from each channel.
            inputs = weight.flatten(2) if weight.dim() > 2 else weight.unflatten(1, (len(sent), -1))
            inputs *= sent[:, None]
        weight /= threshold.reshape(-1, *[1] * (weight.dim() - 1))
        folded.bias.data /= threshold  # type: ignore[union-attr]
        layers.append(folded)
        sent = threshold
    return ConvertedNetwork(layers, thresholds[-1][:1].clone(), coding).requires_grad_(False)
