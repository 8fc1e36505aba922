"""Pictures of neural activity: spike rasters, membranes against the threshold, firing rates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch as th

from sb3_spiking.plotting.axes import BAND, check_recording, label_bands, new_axes
from sb3_spiking.snn import PopulationRecord, Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRACES = 4
"""Number of membranes that are drawn by default."""
BINS = 20


def plot_spike_raster(recording: Recording, ax: "Axes | None" = None, decision: int = 0) -> "Axes":
    """
    Draw the spikes of one decision: time steps from left to right, a band for each population from bottom to top.

    :param recording: recording of [`SpikingNetwork.record`][sb3_spiking.snn.SpikingNetwork.record]
    :param ax: axes to draw on; those of a new figure if None
    :param decision: index of the decision in the batch
    :return: the axes
    :raises IndexError: if there is no such decision
    """
    check_recording("recording", recording)
    ax = ax or new_axes()
    labels = []
    for band, population in enumerate(recording.populations):
        spikes = population.spikes[:, decision].flatten(1)
        time_steps, neurons = spikes.shape
        step, neuron = spikes.nonzero(as_tuple=True)
        y = band + BAND * (neuron + 0.5) / neurons
        ax.axhspan(band, band + BAND, color=f"C{band}", alpha=0.08, linewidth=0)
        ax.hlines(y, step + 0.55, step + 1.45, color=f"C{band}", linewidth=min(2.0, 60.0 / neurons))
        labels.append(f"{population.name}\n{neurons} neurons\n{100 * spikes.abs().mean().item():.0f} % fire")
    label_bands(ax, labels)
    ax.set_xticks(range(1, time_steps + 1))
    ax.set_xlim(0.5, time_steps + 0.5)
    ax.set_xlabel("time step of the decision")
    ax.set_title("Spikes of one decision")
    return ax


def plot_membranes(
    recording: Recording,
    population: str = "hidden0",
    ax: "Axes | None" = None,
    decision: int = 0,
    neurons: Sequence[int] | None = None,
) -> "Axes":
    """
    Draw membranes of one decision against the threshold, before the reset; a dot is a spike.

    The grey band is the surrogate's window: the surrogate gradient is 0 outside of it.

    :param recording: recording of [`SpikingNetwork.record`][sb3_spiking.snn.SpikingNetwork.record]
    :param population: name of the population
    :param ax: axes to draw on; those of a new figure if None
    :param decision: index of the decision in the batch
    :param neurons: indices of neurons of the population; four from the least to the most excited one if None
    :return: the axes
    :raises ValueError: if there is no such population, or it has no membranes
    :raises IndexError: if there is no such decision or neuron
    """
    check_recording("recording", recording)
    record = _with_membranes(recording, population)
    assert record.margin is not None
    margins = record.margin[:, decision].flatten(1).cpu()
    spikes = record.spikes[:, decision].flatten(1)
    if neurons is None:
        by_excitation = margins.amax(dim=0).argsort()
        ranks = th.linspace(0, len(by_excitation) - 1, min(TRACES, len(by_excitation))).round().long()
        neurons = by_excitation[ranks].tolist()
    ax = ax or new_axes()
    steps = th.arange(1, len(margins) + 1)
    if record.surrogate_window < float("inf"):
        window = record.surrogate_window
        ax.axhspan(-window, window, color="0.5", alpha=0.12, linewidth=0, label="surrogate's window")
    ax.axhline(0.0, color="0.3", linewidth=1, linestyle="--", label="threshold")
    for neuron in neurons:
        (line,) = ax.plot(steps, margins[:, neuron], linewidth=1.5, label=f"neuron {neuron}")
        fired = spikes[:, neuron] > 0
        ax.plot(steps[fired], margins[fired, neuron], "o", color=line.get_color(), markersize=6)
    ax.set_xticks(range(1, len(margins) + 1))
    ax.set_xlabel("time step of the decision")
    ax.set_ylabel("membrane - threshold")
    ax.set_title(f"Membranes of {population} before the reset")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def plot_firing_rates(recording: Recording, ax: "Axes | None" = None) -> "Axes":
    """
    Draw the distribution of the firing rates, a histogram for each population from bottom to top.

    The bar at 0 counts silent neurons, the one at 1 neurons that fire at every step; the line is the mean.

    :param recording: recording of a batch of decisions; rates are spikes per time step over all of them
    :param ax: axes to draw on; those of a new figure if None
    :return: the axes
    """
    check_recording("recording", recording)
    ax = ax or new_axes()
    labels = []
    for band, population in enumerate(recording.populations):
        rates = population.spikes.abs().mean(dim=(0, 1)).flatten()
        counts, edges = th.histogram(rates, BINS, range=(0.0, 1.0))
        ax.axhspan(band, band + BAND, color=f"C{band}", alpha=0.08, linewidth=0)
        ax.stairs(band + BAND * counts / counts.max(), edges, baseline=band, fill=True, color=f"C{band}", alpha=0.8)
        mean = rates.mean().item()
        ax.vlines(mean, band, band + BAND, color="black", linewidth=1.2)
        silent = 100 * (rates == 0).float().mean().item()
        labels.append(f"{population.name}\nmean {100 * mean:.0f} %\n{silent:.0f} % silent")
    label_bands(ax, labels)
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("spikes per neuron and step")
    ax.set_title(f"Firing rates in {recording.populations[0].spikes.shape[1]} decisions")
    return ax


def _with_membranes(recording: Recording, name: str) -> PopulationRecord:
    having = {record.name: record for record in recording.populations if record.margin is not None}
    if name not in having:
        known = ", ".join(map(repr, having)) or "none in this recording"
        raise ValueError(f"population={name!r} has no membranes; those that have some: {known}")
    return having[name]
