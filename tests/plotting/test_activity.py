"""Rasters, membranes and firing rates: what is in the pictures; how they look is for eyes."""

import numpy as np
import pytest
import torch as th

from sb3_spiking.plotting import (
    plot_firing_rates,
    plot_membranes,
    plot_spike_raster,
)
from sb3_spiking.snn import PopulationRecord, Recording, SpikingOptions
from tests.conftest import popsan
from tests.plotting.labels import labels_of


@pytest.mark.parametrize("encoder", ["deterministic", "analog"])
def test_raster_shows_every_spike_of_the_decision(encoder):
    recording = popsan(3, 2, (8, 4), SpikingOptions(encoder=encoder)).record(th.randn(2, 3))
    ax = plot_spike_raster(recording, decision=1)
    drawn = sum(len(lines.get_segments()) for lines in ax.collections)
    assert drawn == sum(int((record.spikes[:, 1] > 0).sum()) for record in recording.populations)
    assert labels_of(ax) == ["encoder", "hidden0", "hidden1", "output"]


def test_raster_shows_the_negative_spikes_of_a_converted_network():
    recording = Recording()
    recording.populations.append(
        PopulationRecord("hidden0", th.tensor([[[1.0, -1.0, 0.0, 0.0]], [[-1.0, 0.0, 0.0, 0.0]]]))
    )
    ax = plot_spike_raster(recording)
    assert sum(len(lines.get_segments()) for lines in ax.collections) == 3
    assert "38 % fire" in ax.get_yticklabels()[0].get_text()  # of 8; their mean would be -1 of 8


def test_a_decision_that_is_not_there():
    recording = popsan(3, 2, (8,)).record(th.randn(2, 3))
    for plot in (plot_spike_raster, plot_membranes):
        with pytest.raises(IndexError):
            plot(recording, decision=2)


def test_membranes_are_those_of_the_recording_and_dots_are_spikes():
    recording = popsan(3, 2, (8, 6)).record(2 * th.randn(4, 3))
    record = recording.populations[1]
    neurons = record.margin[:, 3].amax(dim=0).topk(2).indices.tolist()
    ax = plot_membranes(recording, "hidden0", decision=3, neurons=neurons)
    lines = {line.get_label(): line for line in ax.lines}
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    for neuron, spiked in zip(neurons, dots, strict=True):
        np.testing.assert_array_equal(lines[f"neuron {neuron}"].get_ydata(), record.margin[:, 3, neuron])
        np.testing.assert_array_equal(spiked.get_xdata() - 1, record.spikes[:, 3, neuron].nonzero()[:, 0])
        assert (np.asarray(spiked.get_ydata()) >= 0).all()  # a spike is at or above the threshold
    assert sum(len(spiked.get_xdata()) for spiked in dots) > 0
    assert lines["threshold"].get_ydata()[0] == 0


def test_membranes_chosen_reach_from_the_least_to_the_most_excited_neuron():
    recording = popsan(3, 2, (32,)).record(th.randn(1, 3))
    peaks = recording.populations[1].margin[:, 0].amax(dim=0)
    ax = plot_membranes(recording, "hidden0")
    drawn = [int(line.get_label().split()[1]) for line in ax.lines if str(line.get_label()).startswith("neuron")]
    assert len(drawn) == 4
    assert (drawn[0], drawn[-1]) == (int(peaks.argmin()), int(peaks.argmax()))


@pytest.mark.parametrize("population", ["encoder", "hidden7"])
def test_a_population_without_membranes_is_named_with_those_that_have_some(population):
    recording = popsan(3, 2, (8,)).record(th.randn(1, 3))
    with pytest.raises(ValueError, match=f"population='{population}' has no membranes.*'hidden0', 'output'"):
        plot_membranes(recording, population)


def test_firing_rates_are_counted_over_decisions_and_steps():
    recording = Recording()
    # Rates of four neurons over two steps of two decisions: 0, 1, 1/2, 1/4.
    spikes = th.tensor([[[0, 1, 1, 1], [0, 1, 0, 0]], [[0, 1, 1, 0], [0, 1, 0, 0]]]).float()
    recording.populations.append(PopulationRecord("hidden0", spikes))
    recording.populations.append(PopulationRecord("output", -spikes))
    ax = plot_firing_rates(recording)
    for band, bars in enumerate(ax.patches[1::2]):
        heights, edges, _ = bars.get_data()
        filled = np.flatnonzero(heights > band)
        np.testing.assert_allclose(edges[filled], [0.0, 0.25, 0.5, 0.95])
    means = [lines.get_segments()[0][0, 0] for lines in ax.collections]
    assert means == pytest.approx([0.4375, 0.4375])
    assert "25 % silent" in ax.get_yticklabels()[0].get_text()


@pytest.mark.parametrize("plot", [plot_spike_raster, plot_membranes, plot_firing_rates])
def test_what_is_no_recording_is_told_how_to_make_one(plot):
    for given in (popsan(3, 2, (8,)), None, []):
        with pytest.raises(TypeError, match=r"not a recording; make one with policy.spiking_network.record"):
            plot(given)
    with pytest.raises(ValueError, match="holds no population"):
        plot(Recording())
