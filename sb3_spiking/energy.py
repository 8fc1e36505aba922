"""
What a decision costs: operation counts first.

A synaptic operation (synop) is one spike arriving at one synapse; NeuroBench calls it an effective
accumulate. Counts say nothing of joules until a hardware and its memory are named.
"""

from dataclasses import dataclass

import torch as th

from sb3_spiking.snn import Recording, SpikingNetwork


@dataclass(frozen=True)
class DecisionCost:
    """
    Mean cost of one decision.

    :param firing_rates: spikes per neuron and step of each population, in [0, 1], by its name
    :param mean_firing_rate: the same over the hidden and output populations: the mean of their rates
    :param synops: accumulates, one per spike and synapse
    :param macs: multiply-accumulates, of inputs that are no spikes (images, analog encoders)
    :param dense_macs: what a dense network of the same layer sizes would multiply, once
    """

    firing_rates: dict[str, float]
    mean_firing_rate: float
    synops: float
    macs: float
    dense_macs: int


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
    rates = {population.name: population.spikes.mean().item() for population in recording.populations}
    neurons = [rates[population.name] for population in recording.populations if population.margin is not None]
    return DecisionCost(
        firing_rates=rates,
        mean_firing_rate=sum(neurons) / len(neurons),
        synops=sum(synapses.synops for synapses in recording.synapses),
        macs=sum(synapses.macs for synapses in recording.synapses),
        dense_macs=sum(synapses.dense_macs for synapses in recording.synapses),
    )
