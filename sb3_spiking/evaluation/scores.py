"""
Interquartile mean of an agent's scores on several environments, with a bootstrap interval.

The interquartile mean is the mean of the middle half of all the scores. It is less sensitive to outliers than the mean
and uses more of the scores than the median. The interval is a percentile bootstrap, stratified by environment.
Source: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice, NeurIPS 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sb3_spiking.arguments import positive_int


@dataclass(frozen=True)
class Interval:
    """
    Estimate with its confidence interval.

    :param value: the estimate
    :param low: lower end
    :param high: upper end
    """

    value: float
    low: float
    high: float


def interquartile_mean(scores: Sequence[Sequence[float]] | np.ndarray) -> float:
    """
    Return the mean of the middle half of ``n`` scores, without the ``n // 4`` lowest and the ``n // 4`` highest.

    :param scores: scores, normalised so that environments can be compared, ``[environments, seeds]``
    :return: interquartile mean
    :raises ValueError: if the scores are no such table, or one is not finite
    """
    return float(_middle(_table(scores).reshape(1, -1))[0])


def interquartile_mean_interval(
    scores: Sequence[Sequence[float]] | np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """
    Return the interquartile mean with its stratified bootstrap interval.

    :param scores: scores, normalised so that environments can be compared, ``[environments, seeds]``
    :param confidence: share of the bootstrap's means inside the interval, in (0, 1)
    :param resamples: number of bootstrap samples, >= 1
    :param seed: seed of the bootstrap
    :return: interquartile mean with its interval
    :raises ValueError: if the scores are no such table, one is not finite, or another value is not allowed
    """
    table = _table(scores)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence!r} must lie in (0, 1)")
    environments, seeds = table.shape
    # Draw seeds with replacement within each environment: [resamples, environments, seeds].
    drawn = np.random.default_rng(seed).integers(
        seeds, size=(positive_int("resamples", resamples), environments, seeds)
    )
    means = _middle(np.take_along_axis(table[None], drawn, axis=2).reshape(resamples, -1))
    low, high = np.quantile(means, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return Interval(interquartile_mean(table), float(low), float(high))


def _middle(scores: np.ndarray) -> np.ndarray:
    """Return the interquartile means of several sets of scores, ``[sets, scores]``."""
    cut = scores.shape[1] // 4
    return np.sort(scores, axis=1)[:, cut : scores.shape[1] - cut].mean(axis=1)


def _table(scores: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    lengths = [np.size(row) for row in scores]
    if not lengths or len(set(lengths)) != 1 or np.ndim(scores[0]) != 1 or lengths[0] == 0:
        raise ValueError(f"scores must be [environments, seeds], as many seeds in each; there are {lengths} in a row")
    table = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(table).all():
        raise ValueError("scores must be finite: there are NaN or infinite values")
    return table
