"""Receptive fields and encodings."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from matplotlib.colors import to_rgb

from sb3_spiking.plotting import (
    plot_encoding,
    plot_receptive_fields,
)
from sb3_spiking.policies.presets import CONVOLUTIONAL
from sb3_spiking.snn import AnalogEncoder, DeterministicEncoder, Part, SpikingNetwork, SpikingOptions
from tests.plotting.labels import labels_of


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
        spikes = encoder(features[None]).tensor()[:, 0]
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
