"""Records of a batch of decisions, for plots, monitors and operation counts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch as th
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class PopulationRecord:
    """
    Spikes and membranes of one population, on the CPU and without a graph.

    :param name: ``"encoder"``, ``"conv0"``, ..., ``"hidden0"``, ..., ``"output"``
    :param spikes: spikes ``[T, N, ...]``, or the currents of an encoder that sends these
    :param margin: membrane before the reset minus threshold, of the same shape; None for an encoder, and for neurons
        whose membranes cannot be read
    :param surrogate_window: distance from the threshold at which the surrogate ends, see
        [`window`][sb3_spiking.snn.surrogates.window]
    :param exponentials: number of exponentials of an encoder for one decision; 0 for other populations
    """

    name: str
    spikes: th.Tensor
    margin: th.Tensor | None = None
    surrogate_window: float = math.inf
    exponentials: int = 0

    @property
    def is_encoder(self) -> bool:
        """Whether the population consists of receptive fields."""
        return self.exponentials > 0


@dataclass(frozen=True)
class SynapseRecord:
    """
    Operations of the synapses that lead to one population, as means over the decisions.

    The terms are NeuroBench's: an operation is effective where neither input nor weight is 0, and an accumulate where
    all the inputs are spikes.

    :param name: name of the population, or ``"decoder"``
    :param synops: effective accumulates, one per spike and synapse
    :param macs: effective multiply-accumulates, of inputs that are not all 0, 1 or -1
    :param dense_macs: multiply-accumulates of a dense layer of the same sizes: its number of synapses
    """

    name: str
    synops: float
    macs: float
    dense_macs: int


@dataclass(frozen=True)
class Recording:
    """
    A batch of decisions: every population and the operations of every linear map.

    :param populations: populations in the order of the network, an encoder first
    :param synapses: synapses in the same order, the decoder's last
    :param ann_macs: multiply-accumulates of the ordinary ANN in whose place the network stands; None where that ANN
        has the same layers, as a converted DQN has
    """

    populations: list[PopulationRecord] = field(default_factory=list)
    synapses: list[SynapseRecord] = field(default_factory=list)
    ann_macs: int | None = None

    def add_synapses(self, name: str, synapses: "Synapses", inputs: th.Tensor) -> None:
        """
        Count the operations of a linear map.

        :param name: name of the population that it leads to
        :param synapses: synapses of the map
        :param inputs: inputs ``[T, N, ...]``, or ``[1, N, ...]`` where they are the same at each step
        """
        operations = synapses.count((inputs != 0).flatten(0, 1)) / inputs.shape[1]
        synops, macs = (operations, 0.0) if are_spikes(inputs) else (0.0, operations)
        self.synapses.append(SynapseRecord(name, synops, macs, synapses.dense(inputs[0, :1])))


def are_spikes(values: th.Tensor) -> bool:
    """
    Tell spikes from currents.

    :param values: values of any shape
    :return: True if all of them are 0, 1 or -1
    """
    return bool((values.abs() == (values != 0)).all())


@dataclass(frozen=True)
class Synapses:
    """
    Synapses of a linear map; a weight of 0 (pruned) is no synapse.

    :param reach: masks of the inputs ``[N, ...]`` and of the weights to the number of present inputs of each output
    :param weight: weights in use
    """

    reach: Callable[[th.Tensor, th.Tensor], th.Tensor]
    weight: th.Tensor

    def count(self, present: th.Tensor) -> float:
        """
        Count the synapses that leave a set of inputs, borders of a convolution included.

        :param present: mask of the inputs, ``[N, ...]``
        :return: their number, over all ``N``
        """
        return self._count(present, self.weight != 0)

    def dense(self, inputs: th.Tensor) -> int:
        """
        Count the synapses of a dense map of the same sizes.

        :param inputs: one input, ``[1, ...]``
        :return: their number
        """
        return int(self._count(th.ones_like(inputs), th.ones_like(self.weight)))

    def _count(self, present: th.Tensor, weights: th.Tensor) -> float:
        # With weights of 1 each output is the number of its present inputs.
        dtype = self.weight.dtype
        return self.reach(present.to(dtype), weights.to(dtype)).double().sum().item()


def synapses_of(linear_map: nn.Module) -> Synapses:
    """
    Return the synapses of a linear map, with the weights in use: pruned, reparametrized, quantised.

    :param linear_map: ``nn.Linear`` or a convolution, quantised or not, or a module with ``synapses`` of its own
    :return: the synapses
    """
    own: Any = getattr(linear_map, "synapses", None)
    if own is not None:
        return own()
    weight: Any = linear_map.weight
    weight = weight().dequantize() if callable(weight) and not isinstance(weight, th.Tensor) else weight.detach()
    if isinstance(linear_map, nn.modules.conv._ConvNd):
        convolve: Any = linear_map._conv_forward
        return Synapses(lambda present, weights: convolve(present, weights, None), weight)
    return Synapses(functional.linear, weight)
