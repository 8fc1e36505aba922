"""
What a decision costs: operation counts first.

A synaptic operation (synop) is one spike arriving at one synapse; NeuroBench calls it an effective
accumulate. Counts say nothing of joules until a hardware and its memory are named.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch as th

from sb3_spiking.snn import LayerRecord, PopSAN


@dataclass(frozen=True)
class DecisionCost:
    """
    Mean cost of one decision.

    :param firing_rates: spikes per neuron and step of each population, in [0, 1], by its name
    :param synops: accumulates, one per spike and synapse
    :param macs: multiply-accumulates, of inputs that are no spikes (the analog encoder)
    :param dense_macs: what a dense network of the same layer sizes would multiply, once
    """

    firing_rates: dict[str, float]
    synops: float
    macs: float
    dense_macs: int

    @property
    def mean_firing_rate(self) -> float:
        """Spikes per neuron and step, over the hidden and output populations: the mean of their rates."""
        rates = [rate for name, rate in self.firing_rates.items() if name != "encoder"]
        return sum(rates) / len(rates)


def decision_cost(network: PopSAN, observations: th.Tensor) -> DecisionCost:
    """
    Count the operations of the network's decisions.

    :param network: a spiking network
    :param observations: what it decides on, normalised, ``[N, obs_dim]``
    :return: the mean over the ``N`` decisions
    """
    return cost_of(network.record(observations))


def cost_of(records: Sequence[LayerRecord]) -> DecisionCost:
    """
    Count the operations of recorded decisions.

    :param records: what [`PopSAN.record`][sb3_spiking.snn.PopSAN.record] returned
    :return: the mean over the decisions
    """
    synops = macs = 0.0
    dense_macs = 0
    for record in records:
        _, decisions, neurons = record.spikes.shape
        dense_macs += neurons * record.fan_out
        if bool(((record.spikes == 0) | (record.spikes == 1)).all()):
            synops += record.spikes.sum().item() / decisions * record.fan_out
        else:
            # A current that is constant over the steps is multiplied once.
            macs += neurons * record.fan_out
    rates = {record.name: record.spikes.mean().item() for record in records}
    return DecisionCost(rates, synops, macs, dense_macs)
