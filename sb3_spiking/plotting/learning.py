"""Pictures of learning: returns over training, and interquartile means over environments."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch as th

from sb3_spiking.evaluation.scores import interquartile_mean_interval
from sb3_spiking.plotting.axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_learning_curve(
    timesteps: Sequence[int], returns: Sequence[Sequence[float]], ax: "Axes | None" = None, label: str | None = None
) -> "Axes":
    """
    Draw mean and standard deviation of the returns over training.

    :param timesteps: environment steps of the evaluations, ``[evaluations]``
    :param returns: returns of the episodes (or seeds) of each evaluation, ``[evaluations, episodes]``
    :param ax: axes to draw on; those of a new figure if None
    :param label: name of the curve in the legend
    :return: the axes
    :raises ValueError: if the number of rows of returns is not that of the timesteps
    """
    values = th.as_tensor(returns, dtype=th.float64)
    if values.ndim != 2 or len(values) != len(timesteps):
        raise ValueError(
            f"returns has shape {tuple(values.shape)}; it must be [evaluations, episodes], with a row for each of the "
            f"{len(timesteps)} timesteps"
        )
    ax = ax or new_axes()
    mean, std = values.mean(dim=1), values.std(dim=1, correction=0)
    (line,) = ax.plot(timesteps, mean, marker="o", markersize=3, label=label)
    ax.fill_between(timesteps, mean - std, mean + std, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set_xlabel("environment steps")
    ax.set_ylabel("return")
    ax.set_title("Learning curve")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    if label is not None:
        ax.legend(frameon=False)
    return ax


def plot_interquartile_means(
    scores: Mapping[str, Sequence[Sequence[float]]], ax: "Axes | None" = None, confidence: float = 0.95
) -> "Axes":
    """
    Draw the interquartile mean of each agent over several environments, with its bootstrap interval.

    :param scores: normalised scores of each agent by its name, ``[environments, seeds]``; see
        [`interquartile_mean_interval`][sb3_spiking.evaluation.scores.interquartile_mean_interval]
    :param ax: axes to draw on; those of a new figure if None
    :param confidence: confidence of the intervals, in (0, 1)
    :return: the axes
    :raises ValueError: if the scores have another shape
    """
    intervals = {name: interquartile_mean_interval(table, confidence) for name, table in scores.items()}
    ax = ax or new_axes()
    for place, interval in enumerate(intervals.values()):
        ax.barh(
            place,
            interval.high - interval.low,
            left=interval.low,
            height=0.5,
            color=f"C{place}",
            alpha=0.35,
            linewidth=0,
        )
        ax.vlines(interval.value, place - 0.25, place + 0.25, color=f"C{place}", linewidth=2.5)
        ax.annotate(f"{interval.value:.3g}", (interval.value, place + 0.28), ha="center", color=f"C{place}")
    ax.use_sticky_edges = False  # otherwise the widest interval would touch the frame
    ax.set_yticks(range(len(intervals)), list(intervals))
    ax.set_ylim(-0.5, len(intervals) - 0.3)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"normalised score, {100 * confidence:.0f} % interval")
    ax.set_title("Interquartile mean")
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax
