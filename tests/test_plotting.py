"""What is in the pictures; how they look is for eyes."""

import copy
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch as th
from matplotlib.colors import to_rgb

from sb3_spiking.evaluation.scores import interquartile_mean_interval
from sb3_spiking.plotting import (
    plot_encoding,
    plot_firing_rates,
    plot_interquartile_means,
    plot_learning_curve,
    plot_membranes,
    plot_paired_returns,
    plot_receptive_fields,
    plot_spike_history,
    plot_spike_raster,
    plot_sweep,
)
from sb3_spiking.policies.presets import CONVOLUTIONAL
from sb3_spiking.snn import AnalogEncoder, DeterministicEncoder, Part, Recording, SpikingNetwork, SpikingOptions
from tests.conftest import popsan

mpl.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    mpl.pyplot.close("all")


def labels_of(ax):
    return [label.get_text().split("\n")[0] for label in ax.get_yticklabels()]


@pytest.mark.parametrize("encoder", ["deterministic", "analog"])
def test_raster_shows_every_spike_of_the_decision(encoder):
    recording = popsan(3, 2, (8, 4), SpikingOptions(encoder=encoder)).record(th.randn(2, 3))
    ax = plot_spike_raster(recording, decision=1)
    drawn = sum(len(lines.get_segments()) for lines in ax.collections)
    assert drawn == sum(int((record.spikes[:, 1] > 0).sum()) for record in recording.populations)
    assert labels_of(ax) == ["encoder", "hidden0", "hidden1", "output"]


def test_raster_shows_the_negative_spikes_of_a_converted_network():
    recording = Recording()
    recording.add_population("hidden0", th.tensor([[[1.0, -1.0, 0.0, 0.0]], [[-1.0, 0.0, 0.0, 0.0]]]))
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
    recording.add_population("hidden0", spikes)
    recording.add_population("output", -spikes)
    ax = plot_firing_rates(recording)
    for band, bars in enumerate(ax.patches[1::2]):
        heights, edges, _ = bars.get_data()
        filled = np.flatnonzero(heights > band)
        np.testing.assert_allclose(edges[filled], [0.0, 0.25, 0.5, 0.95])
    means = [lines.get_segments()[0][0, 0] for lines in ax.collections]
    assert means == pytest.approx([0.4375, 0.4375])
    assert "25 % silent" in ax.get_yticklabels()[0].get_text()


def test_receptive_fields_peak_at_the_means_and_are_as_wide_as_they_are():
    encoder = DeterministicEncoder(2, population=3, mean_range=((-3.0, 3.0), (0.0, 1.0)), std=(0.5, 0.2))
    ax = plot_receptive_fields(encoder, names=["angle", "speed"])
    curves = [line.get_xydata() for line in ax.lines]
    assert len(curves) == 6
    for index, curve in enumerate(curves):
        dimension, neuron = divmod(index, 3)
        x, height = curve[:, 0], (curve[:, 1] - dimension) / 0.9
        mean, std = encoder.mean[dimension, neuron].item(), encoder.std[dimension, neuron].item()
        np.testing.assert_allclose(height, np.exp(-0.5 * ((x - mean) / std) ** 2), atol=1e-5)
        assert x[height.argmax()] == pytest.approx(mean, abs=0.02)
    assert labels_of(ax) == ["angle", "speed"]


def test_what_was_learnt_is_drawn_over_what_was_before():
    before = DeterministicEncoder(1, population=4)
    after = copy.deepcopy(before)
    with th.no_grad():
        after.mean += 4.0
    ax = plot_receptive_fields(after, before=before)
    grey = [line for line in ax.lines if len(line.get_xdata()) and len(set(to_rgb(line.get_color()))) == 1]
    peaks = [line.get_xdata()[line.get_ydata().argmax()] for line in grey]
    assert peaks[:4] == pytest.approx([-3.0, -1.0, 1.0, 3.0], abs=0.03)
    low, high = ax.get_xlim()
    assert low < -3.5
    assert high > 7.5  # both are in the picture
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before", "after"]


def test_pictures_of_encoders_name_what_does_not_fit():
    encoder = DeterministicEncoder(2, population=3)
    with pytest.raises(ValueError, match="for each of the 2 observation dimensions"):
        plot_receptive_fields(encoder, names=["angle"])
    with pytest.raises(ValueError, match=r"before=2 x 4 .* 2 x 3"):
        plot_receptive_fields(encoder, before=DeterministicEncoder(2, population=4))
    with pytest.raises(ValueError, match=r"features=\(1, 2\) must be one observation, \(2,\)"):
        plot_encoding(encoder, th.zeros(1, 2))


def test_an_encoding_shows_activities_and_every_spike():
    encoder = DeterministicEncoder(3, population=5, time_steps=4)
    features = th.tensor([-2.0, 0.3, 9.0])  # the last lies beyond all the fields
    ax = plot_encoding(encoder, features)
    with th.no_grad():
        activity = encoder.activity(features[None])[0]
        spikes = encoder(features[None])[:, 0]
    dots = np.array([line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"])
    seen = activity[activity > 0.003].numpy()
    np.testing.assert_allclose((dots[:, 1] - dots[:, 1].astype(int)) / 0.9, seen, atol=1e-5)
    assert set(dots[:, 0].round(6)) == {-2.0, 0.3}
    (sent,) = ax.figure.axes[-1].collections
    assert len(sent.get_segments()) == int(spikes.sum()) > 0
    assert ax.get_xlim()[1] >= 9.0


def test_an_encoding_without_spikes_is_drawn_as_its_currents():
    encoder = AnalogEncoder(1, population=3, time_steps=2)
    ax = plot_encoding(encoder, th.tensor([0.1]))
    (sent,) = ax.figure.axes[-1].collections
    np.testing.assert_allclose(sent.get_alpha(), 2 * encoder.activity(th.tensor([[0.1]]))[0].tolist(), rtol=1e-6)
    silent = plot_encoding(DeterministicEncoder(1, population=3), th.tensor([50.0]))
    assert not silent.figure.axes[-1].collections[0].get_segments()


def test_learning_curve_shows_mean_and_spread():
    ax = plot_learning_curve([10, 20], [[1.0, 3.0], [5.0, 5.0]], label="spiking")
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[10, 2], [20, 5]])
    assert ax.get_legend() is not None


def test_interquartile_means_are_drawn_with_their_intervals():
    scores = {"spiking": [[0.0, 1.0, 0.5], [0.2, 0.4, 0.6]], "ANN": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]}
    ax = plot_interquartile_means(scores, confidence=0.9)
    assert labels_of(ax) == ["spiking", "ANN"]
    for table, bar, line in zip(scores.values(), ax.patches, ax.collections, strict=True):
        interval = interquartile_mean_interval(table, 0.9)
        assert (bar.get_x(), bar.get_x() + bar.get_width()) == pytest.approx((interval.low, interval.high))
        assert line.get_segments()[0][0, 0] == interval.value


def test_a_history_shows_every_spike_with_the_latest_decision_at_the_right():
    recordings = [popsan(3, 2, (8,)).record(th.randn(1, 3)) for _ in range(4)]
    ax = plot_spike_history(recordings, decisions=6)
    for band, image in enumerate(ax.images):
        spikes = th.cat([recording.populations[band].spikes[:, 0] for recording in recordings])
        np.testing.assert_array_equal(image.get_array(), spikes.T)
        assert tuple(image.get_extent())[:2] == (-20, 0)
    assert ax.get_xlim() == (-30, 0)  # room for two more
    ax = plot_spike_history(recordings, decisions=3)
    assert len(ax.images[0].get_array()[0]) == 15
    np.testing.assert_array_equal(ax.images[0].get_array()[:, -5:], recordings[-1].populations[0].spikes[:, 0].T)
    with pytest.raises(ValueError, match="recordings="):
        plot_spike_history([])


def test_a_history_of_many_neurons_puts_them_together_and_keeps_signs():
    recording = Recording()
    spikes = th.zeros(1, 1, 130)  # groups of three
    spikes[0, 0, :9] = th.tensor([1.0, 1.0, 1.0, -1.0, -1.0, 0.0, 1.0, -1.0, 0.0])
    recording.add_population("hidden0", spikes)
    (image,) = plot_spike_history([recording]).images
    np.testing.assert_allclose(np.asarray(image.get_array())[:4, 0], [1.0, -2 / 3, 2 / 3, 0.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SpikingOptions(encoder="direct"), "is a DirectEncoder, which has no receptive fields"),
        (CONVOLUTIONAL, "is a ImageInput, which has no receptive fields"),
    ],
)
def test_networks_without_receptive_fields_are_told_where_there_are_some(options, message):
    parts = [Part("", (3, 12, 12))] if options is CONVOLUTIONAL else [Part("", (2,))]
    network = SpikingNetwork(parts, 2, (8,), options)
    for plot in (plot_receptive_fields, lambda encoder: plot_encoding(encoder, th.zeros(2))):
        for given in (network.encoder, network, None):
            with pytest.raises(TypeError, match=r"no receptive fields: pass policy.spiking_network.encoder"):
                plot(given)
        with pytest.raises(TypeError, match=message):
            plot(network.encoder)


def test_several_encoders_are_drawn_one_at_a_time():
    parts = [Part("camera", (3, 12, 12)), Part("joints", (2,))]
    encoder = SpikingNetwork(parts, 2, (8,), replace(CONVOLUTIONAL, encoder="deterministic")).encoder
    with pytest.raises(TypeError, match=r"holds several; draw one of encoder.stages\[1\]"):
        plot_receptive_fields(encoder)
    plot_receptive_fields(encoder.stages[1])
    direct = SpikingNetwork(parts, 2, (8,), CONVOLUTIONAL).encoder
    with pytest.raises(TypeError, match="all its entries are currents"):
        plot_receptive_fields(direct)


@pytest.mark.parametrize("plot", [plot_spike_raster, plot_membranes, plot_firing_rates])
def test_what_is_no_recording_is_told_how_to_make_one(plot):
    for given in (popsan(3, 2, (8,)), None, []):
        with pytest.raises(TypeError, match=r"not a recording; make one with policy.spiking_network.record"):
            plot(given)
    with pytest.raises(ValueError, match="holds no population"):
        plot(Recording())


def test_histories_take_lists_of_recordings():
    recording = popsan(3, 2, (8,)).record(th.randn(1, 3))
    with pytest.raises(TypeError, match="must be a list of recordings"):
        plot_spike_history(recording)
    with pytest.raises(TypeError, match=r"recordings\[1\] is a NoneType"):
        plot_spike_history([recording, None])


def test_curves_and_comparisons_of_other_sizes_are_refused():
    for returns in ([1.0, 2.0], [[1.0], [2.0], [3.0]]):
        with pytest.raises(ValueError, match=r"must be \[evaluations, episodes\]"):
            plot_learning_curve([10, 20], returns)
    with pytest.raises(ValueError, match="returns of the same episodes; there are 2 and 1"):
        plot_paired_returns([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="results of coding are empty"):
        plot_sweep("coding", {})
