"""
What a decision costs: operation counts first.

A synaptic operation (synop) is one spike arriving at one synapse; NeuroBench calls it an effective
accumulate. Counts say nothing of joules until a hardware and its memory are named.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch as th

from sb3_spiking.snn import Recording, SpikingNetwork


@dataclass(frozen=True)
class DecisionCost:
    """
    Mean cost of one decision.

    :param firing_rates: spikes per neuron and step of each population, in [0, 1], by its name
    :param mean_firing_rate: the same over the hidden and output populations: the mean of their rates
    :param spikes: how many of all the populations
    :param synops: accumulates, one per spike and synapse
    :param macs: multiply-accumulates, of inputs that are no spikes (images, analog encoders)
    :param dense_macs: what a dense network of the same layer sizes would multiply, once
    """

    firing_rates: dict[str, float]
    mean_firing_rate: float
    spikes: float
    synops: float
    macs: float
    dense_macs: int


@dataclass(frozen=True)
class CostModel:
    """
    What arithmetic costs on some hardware; memory, which costs more on most, is not in it.

    :param name: which hardware
    :param joules_per_mac: of a multiply-accumulate
    :param joules_per_synop: of an accumulate
    """

    name: str
    joules_per_mac: float
    joules_per_synop: float

    def joules(self, macs: float, synops: float = 0.0) -> float:
        """
        Return the energy of some operations.

        :param macs: multiply-accumulates
        :param synops: accumulates
        :return: joules
        """
        return macs * self.joules_per_mac + synops * self.joules_per_synop


HOROWITZ_45NM = CostModel("float32 arithmetic in 45 nm CMOS (Horowitz, 2014)", 4.6e-12, 0.9e-12)


def decision_cost(network: SpikingNetwork, features: th.Tensor) -> DecisionCost:
    """
    Count the operations of the network's decisions.

    :param network: a spiking network
    :param features: what it decides on, normalised, ``[N, features_dim]``
    :return: the mean over the ``N`` decisions
    """
    return cost_of(network.record(features))


def cost_of(recording: Recording) -> DecisionCost:
    """
    Count the operations of recorded decisions.

    :param recording: what [`SpikingNetwork.record`][sb3_spiking.snn.SpikingNetwork.record] returned
    :return: the mean over the decisions
    """
    rates = {p.name: p.spikes.abs().mean().item() for p in recording.populations}
    # Encoders and converted networks record no membranes; a converted network has no encoder.
    neurons = [rates[p.name] for p in recording.populations if p.margin is not None] or list(rates.values())
    return DecisionCost(
        firing_rates=rates,
        mean_firing_rate=sum(neurons) / len(neurons),
        spikes=sum(p.spikes.count_nonzero().item() / p.spikes.shape[1] for p in recording.populations),
        synops=sum(synapses.synops for synapses in recording.synapses),
        macs=sum(synapses.macs for synapses in recording.synapses),
        dense_macs=sum(synapses.dense_macs for synapses in recording.synapses),
    )


def mean_cost(costs: Sequence[tuple[int, DecisionCost]]) -> DecisionCost:
    """
    Join what batches of decisions cost.

    :param costs: how many decisions, and their mean cost; all of the same network
    :return: the mean over all of them
    """
    total = sum(count for count, _ in costs)

    def mean(values: Iterable[float]) -> float:
        return sum(count * value for (count, _), value in zip(costs, values, strict=True)) / total

    each = [cost for _, cost in costs]
    return DecisionCost(
        firing_rates={name: mean(cost.firing_rates[name] for cost in each) for name in each[0].firing_rates},
        mean_firing_rate=mean(cost.mean_firing_rate for cost in each),
        spikes=mean(cost.spikes for cost in each),
        synops=mean(cost.synops for cost in each),
        macs=mean(cost.macs for cost in each),
        dense_macs=each[0].dense_macs,
    )
