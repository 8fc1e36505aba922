"""
Operation counts of a decision.

A synaptic operation (synop) is one spike that arrives at one synapse; NeuroBench calls it an effective accumulate.
Counts become joules only with a named hardware and its memory. docs/energy.md lists the counted operations.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch as th

from sb3_spiking.snn import Recording, SpikingNetwork
from sb3_spiking.snn.recording import are_spikes


@dataclass(frozen=True)
class DecisionCost:
    """
    Mean cost of one decision. As text it is a table with the energy of the arithmetic.

    :param firing_rates: spikes per neuron and step of each population, in [0, 1], by its name
    :param mean_firing_rate: mean firing rate of the hidden and output populations
    :param spikes: number of spikes, summed over populations
    :param synops: accumulates, one per spike and synapse
    :param macs: multiply-accumulates of inputs that are not spikes (images, analog encoders)
    :param dense_macs: multiply-accumulates of a dense network of the same layer sizes, populations included
    :param ann_macs: multiply-accumulates of the ordinary ANN with the same hidden layers on the features themselves;
        for a converted network this is the DQN, and equals ``dense_macs``
    :param exponentials: exponentials of the encoders' receptive fields
    :param neuron_updates: updates of neurons, one per step and neuron of the populations that fire
    """

    firing_rates: dict[str, float]
    mean_firing_rate: float
    spikes: float
    synops: float
    macs: float
    dense_macs: int
    ann_macs: int
    exponentials: int
    neuron_updates: int

    def __str__(self) -> str:
        lines = [("", *self._networks()), *self._rows()]
        widths = [max(len(line[column]) for line in lines if column < len(line)) for column in range(len(lines[0]))]
        table = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
        return "\n".join([*table, f"energy: {HOROWITZ_45NM.name}; no memory"])

    def _networks(self) -> dict[str, tuple[float, float]]:
        """Return accumulates and multiply-accumulates of each network, the spiking one first."""
        networks = {"spiking": (self.synops, self.macs), "ordinary ANN": (0.0, float(self.ann_macs))}
        if self.dense_macs != self.ann_macs:
            networks["dense, same layers"] = (0.0, float(self.dense_macs))
        return networks

    def _rows(self) -> Iterator[tuple[str, ...]]:
        """Return the rows of the table: a quantity, and its value for each network that has one."""
        networks = self._networks().values()
        yield "accumulates", *(f"{synops:,.0f}" for synops, _ in networks)
        yield "multiply-accumulates", *(f"{macs:,.0f}" for _, macs in networks)
        yield "exponentials", f"{self.exponentials:,}"
        yield "neuron updates", f"{self.neuron_updates:,}"
        own, *others = (HOROWITZ_45NM.joules(macs, synops) for synops, macs in networks)
        yield "energy of the arithmetic [nJ]", *map(nanojoules, (own, *others))
        if own > 0:
            yield "  relative to spiking", "1", *(f"{joules / own:.2f}" for joules in others)
        yield "spikes", f"{self.spikes:,.0f}"
        yield "firing rate", f"{self.mean_firing_rate:.3f}"
        for name, rate in self.firing_rates.items():
            yield f"  {name}", f"{rate:.3f}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Align a line of a table: its name to the left, its values to the right."""
    yield f"{line[0]:<{widths[0]}}"
    for value, width in zip(line[1:], widths[1:], strict=False):
        yield f"{value:>{width}}"


@dataclass(frozen=True)
class CostModel:
    """
    Energy of arithmetic on some hardware; memory, which costs more on most, is not included.

    :param name: name of the hardware
    :param joules_per_mac: joules of a multiply-accumulate
    :param joules_per_synop: joules of an accumulate
    """

    name: str
    joules_per_mac: float
    joules_per_synop: float

    def joules(self, macs: float, synops: float = 0.0) -> float:
        """
        Return the energy of operations.

        :param macs: number of multiply-accumulates
        :param synops: number of accumulates
        :return: energy in joules
        """
        return macs * self.joules_per_mac + synops * self.joules_per_synop


HOROWITZ_45NM = CostModel("float32 arithmetic in 45 nm CMOS (Horowitz, 2014)", 4.6e-12, 0.9e-12)


def nanojoules(joules: float) -> str:
    """
    Format an energy in nanojoules: three digits, and all those before the point.

    :param joules: energy in joules
    :return: text without the unit
    """
    value = 1e9 * joules
    return f"{value:.3g}" if value < 1000.0 else f"{value:.0f}"


def decision_cost(network: SpikingNetwork, features: th.Tensor) -> DecisionCost:
    """
    Count the operations of the network's decisions.

    :param network: a spiking network
    :param features: normalised features, ``[N, features_dim]``
    :return: mean over the ``N`` decisions
    """
    return cost_of(network.record(features))


def cost_of(recording: Recording) -> DecisionCost:
    """
    Count the operations of recorded decisions.

    :param recording: result of [`SpikingNetwork.record`][sb3_spiking.snn.SpikingNetwork.record]
    :return: mean over the decisions
    """
    rates = {p.name: p.spikes.abs().mean().item() for p in recording.populations}
    neurons = [rates[p.name] for p in recording.populations if not p.is_encoder]
    dense_macs = sum(synapses.dense_macs for synapses in recording.synapses)
    return DecisionCost(
        firing_rates=rates,
        mean_firing_rate=sum(neurons) / len(neurons),
        spikes=sum(p.spikes.count_nonzero().item() / p.spikes.shape[1] for p in recording.populations),
        synops=sum(synapses.synops for synapses in recording.synapses),
        macs=sum(synapses.macs for synapses in recording.synapses),
        dense_macs=dense_macs,
        ann_macs=dense_macs if recording.ann_macs is None else recording.ann_macs,
        exponentials=sum(p.exponentials for p in recording.populations),
        neuron_updates=sum(p.spikes[:, 0].numel() for p in recording.populations if are_spikes(p.spikes)),
    )


def mean_cost(costs: Sequence[tuple[int, DecisionCost]]) -> DecisionCost:
    """
    Average the costs of batches of decisions.

    :param costs: number of decisions and mean cost of each batch; all of the same network
    :return: mean over all decisions
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
        ann_macs=each[0].ann_macs,
        exponentials=each[0].exponentials,
        neuron_updates=each[0].neuron_updates,
    )
