"""What a network did during a batch of decisions: for plots, monitors and operation counts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch as th
from torch import nn
from torch.func import functional_call


@dataclass(frozen=True)
class PopulationRecord:
    """
    What one population of neurons did, on the CPU and without a graph.

    :param name: ``"encoder"``, ``"conv0"``, ..., ``"hidden0"``, ..., ``"output"``
    :param spikes: ``[T, N, ...]``; currents, where an encoder sends these
    :param margin: membrane before the reset minus threshold, of the same shape; None for an encoder
    :param surrogate_window: how far from the threshold the surrogate reaches
    :param exponentials: exponentials that were evaluated for one decision: an encoder's receptive fields
    """

    name: str
    spikes: th.Tensor
    margin: th.Tensor | None = None
    surrogate_window: float = math.inf
    exponentials: int = 0


@dataclass(frozen=True)
class SynapseRecord:
    """
    What the synapses that lead to one population did, as means over the decisions.

    The terms are NeuroBench's: an operation is effective where input and weight are present, and an
    accumulate where all the inputs are spikes.

    :param name: the population they lead to, or ``"decoder"``
    :param synops: effective accumulates, one per spike and synapse
    :param macs: effective multiply-accumulates, of inputs that are not all 0, 1 or -1
    :param dense_macs: number of synapses, what a dense layer of the same sizes would multiply, once
    """

    name: str
    synops: float
    macs: float
    dense_macs: int


@dataclass(frozen=True)
class Recording:
    """
    A batch of decisions, filled in by the layers that made them.

    :param populations: in the order of the network, an encoder first
    :param synapses: in the same order, the decoder's last
    :param ann_macs: multiply-accumulates of the ordinary ANN in whose place the network stands; None where that ANN
        has the same layers, as a converted DQN has
    """

    populations: list[PopulationRecord] = field(default_factory=list)
    synapses: list[SynapseRecord] = field(default_factory=list)
    ann_macs: int | None = None

    def add_population(
        self,
        name: str,
        spikes: th.Tensor,
        margin: th.Tensor | None = None,
        surrogate_window: float = math.inf,
        exponentials: int = 0,
    ) -> None:
        """See [`PopulationRecord`][sb3_spiking.snn.PopulationRecord]."""
        record = PopulationRecord(name, spikes.detach().cpu(), margin, surrogate_window, exponentials)
        self.populations.append(record)

    def add_synapses(self, name: str, count: Callable[[th.Tensor], th.Tensor], inputs: th.Tensor) -> None:
        """
        Count the operations of a linear map.

        :param name: the population that it leads to
        :param count: number of synapses that leave the inputs which are there, a function of a mask ``[N, ...]``
        :param inputs: ``[T, N, ...]``; one that is constant over the steps (expanded) is multiplied once
        """
        if is_constant(inputs):
            inputs = inputs[:1]
        present = inputs != 0
        operations = count(present.flatten(0, 1)).item() / inputs.shape[1]
        dense = int(count(th.ones_like(present[0, :1])).item())
        synops, macs = (operations, 0.0) if are_spikes(inputs) else (0.0, operations)
        self.synapses.append(SynapseRecord(name, synops, macs, dense))


def are_spikes(values: th.Tensor) -> bool:
    """
    Tell spikes from currents.

    :param values: of any shape
    :return: True if all of them are 0, 1 or -1
    """
    return bool((values.abs() == (values != 0)).all())


def is_constant(inputs: th.Tensor) -> bool:
    """
    Tell whether an input was expanded over the time steps, so that it needs to be multiplied once only.

    :param inputs: ``[T, N, ...]``
    :return: True if all the steps are one piece of memory
    """
    return inputs.shape[0] > 1 and inputs.stride(0) == 0


def synapses_of(linear_map: nn.Module) -> Callable[[th.Tensor], th.Tensor]:
    """
    Return how to count the synapses that leave a set of inputs, borders of a convolution included.

    :param linear_map: ``nn.Linear`` or a convolution
    :return: the ``count`` of [`Recording.add_synapses`][sb3_spiking.snn.recording.Recording.add_synapses]
    """
    # With weights of 1 each output is the number of its inputs that are there.
    ones = {name: (th.ones_like if name == "weight" else th.zeros_like)(p) for name, p in linear_map.named_parameters()}

    def count(present: th.Tensor) -> th.Tensor:
        reached: th.Tensor = functional_call(linear_map, ones, (present.to(ones["weight"]),))
        return reached.double().sum()

    return count
