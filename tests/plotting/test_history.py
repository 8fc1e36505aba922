"""Spikes of consecutive decisions."""

import numpy as np
import pytest
import torch as th

from sb3_spiking.plotting import (
    plot_spike_history,
)
from sb3_spiking.snn import PopulationRecord, Recording
from tests.conftest import popsan


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
    recording.populations.append(PopulationRecord("hidden0", spikes))
    (image,) = plot_spike_history([recording]).images
    np.testing.assert_allclose(np.asarray(image.get_array())[:4, 0], [1.0, -2 / 3, 2 / 3, 0.0], rtol=1e-6)


def test_histories_take_lists_of_recordings():
    recording = popsan(3, 2, (8,)).record(th.randn(1, 3))
    with pytest.raises(TypeError, match="must be a list of recordings"):
        plot_spike_history(recording)
    with pytest.raises(TypeError, match=r"recordings\[1\] is a NoneType"):
        plot_spike_history([recording, None])
