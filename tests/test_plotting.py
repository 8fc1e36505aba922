import matplotlib as mpl
import numpy as np
import pytest
import torch as th

from sb3_spiking.plotting import plot_learning_curve, plot_spike_raster
from sb3_spiking.snn import SpikingOptions
from tests.conftest import popsan

mpl.use("Agg")


@pytest.mark.parametrize("encoder", ["deterministic", "analog"])
def test_raster_shows_every_spike_of_the_decision(encoder):
    recording = popsan(3, 2, (8, 4), SpikingOptions(encoder=encoder)).record(th.randn(2, 3))
    ax = plot_spike_raster(recording, decision=1)
    drawn = sum(len(lines.get_segments()) for lines in ax.collections)
    assert drawn == sum(int((record.spikes[:, 1] > 0).sum()) for record in recording.populations)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert [label.split("\n")[0] for label in labels] == ["encoder", "hidden0", "hidden1", "output"]


def test_a_decision_that_is_not_there():
    with pytest.raises(IndexError):
        plot_spike_raster(popsan(3, 2, (8,)).record(th.randn(2, 3)), decision=2)


def test_learning_curve_shows_mean_and_spread():
    ax = plot_learning_curve([10, 20], [[1.0, 3.0], [5.0, 5.0]], label="spiking")
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[10, 2], [20, 5]])
    assert ax.get_legend() is not None
