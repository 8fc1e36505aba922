"""The interquartile mean and its interval, against numbers made by hand and against SciPy."""

import math

import numpy as np
import pytest

from sb3_spiking.evaluation.scores import Interval, interquartile_mean, interquartile_mean_interval


def test_interquartile_mean_by_hand():
    # Eight scores: two go on either side, what is left are 3, 4, 5 and 6.
    assert interquartile_mean([[8.0, 3.0, 100.0, 5.0], [-100.0, 4.0, 6.0, 1.0]]) == 4.5
    # Of six, one goes on either side: the quarter is rounded down.
    assert interquartile_mean([[0.0, 1.0, 2.0], [3.0, 5.0, 90.0]]) == 2.75
    # Of three, none does.
    assert interquartile_mean([[0.0, 0.0, 3.0]]) == 1.0


def test_interquartile_mean_is_scipys_trimmed_mean():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (2, 5), (7, 3), (9, 10)]:
        scores = rng.standard_cauchy(shape)
        assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_interval_by_hand():
    # Two seeds of one environment, 0 and 1: the mean of two draws is 0, 0.5 or 1 with probability 1/4, 1/2, 1/4.
    assert interquartile_mean_interval([[0.0, 1.0]], confidence=0.9) == Interval(0.5, 0.0, 1.0)
    assert interquartile_mean_interval([[0.0, 1.0]], confidence=0.3) == Interval(0.5, 0.5, 0.5)


def test_seeds_are_drawn_within_their_environment():
    # All the seeds of an environment agree: no draw can change anything, whereas draws across environments would.
    scores = [[0.0] * 3, [1.0] * 3, [7.0] * 3]
    # Of nine, two go on either side: 0 1 1 1 7 are left.
    assert interquartile_mean_interval(scores) == Interval(2.0, 2.0, 2.0)


def test_the_interval_is_as_wide_as_the_mean_varies():
    # Many seeds of a normal distribution. The variance of the mean of the middle half is 1.19 / n (Huber, 1981, for
    # normal data), so 95 % lie within 1.96 sqrt(1.19 / n).
    scores = np.random.default_rng(1).normal(size=(1, 1000))
    interval = interquartile_mean_interval(scores)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * math.sqrt(1.19 / 1000), rel=0.15)
    assert interval.low < interval.value < interval.high
    assert interval == interquartile_mean_interval(scores)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([[1.0, 2.0], [1.0]], "as many seeds"),
        ([], "as many seeds"),
        ([[]], "as many seeds"),
        ([1.0, 2.0], "as many seeds"),
        ([[1.0, float("nan")]], "finite"),
    ],
)
def test_bad_scores_are_named(scores, said):
    with pytest.raises(ValueError, match=said):
        interquartile_mean(scores)


@pytest.mark.parametrize(
    ("options", "said"), [({"confidence": 1.0}, "confidence=1.0"), ({"resamples": 0}, "resamples")]
)
def test_bad_bootstraps_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        interquartile_mean_interval([[1.0, 2.0]], **options)
