"""Learning curves and interquartile means."""

import numpy as np
import pytest

from sb3_spiking.evaluation.scores import interquartile_mean_interval
from sb3_spiking.plotting import (
    plot_interquartile_means,
    plot_learning_curve,
)
from tests.plotting.labels import labels_of


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


def test_learning_curves_of_other_sizes_are_refused():
    for returns in ([1.0, 2.0], [[1.0], [2.0], [3.0]]):
        with pytest.raises(ValueError, match=r"must be \[evaluations, episodes\]"):
            plot_learning_curve([10, 20], returns)
