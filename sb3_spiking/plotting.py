"""Pictures of spiking agents. matplotlib is imported when a picture is drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch as th

from sb3_spiking.snn import LayerRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_spike_raster(records: Sequence[LayerRecord], ax: "Axes | None" = None, decision: int = 0) -> "Axes":
    """
    Draw every spike of one decision: steps from left to right, populations from bottom to top.

    :param records: what :meth:`~sb3_spiking.snn.PopSAN.record` returned
    :param ax: where to draw; a new figure if None
    :param decision: which decision of the batch
    :return: the axes
    :raises IndexError: if there is no such decision
    """
    ax = ax or _new_axes()
    base = 0
    ticks: list[tuple[float, str]] = []
    time_steps = records[0].spikes.shape[0]
    gap = max(sum(record.spikes.shape[2] for record in records) // 40, 1)
    for index, record in enumerate(records):
        spikes = record.spikes[:, decision]
        steps, neurons = (spikes > 0).nonzero(as_tuple=True)
        rate = spikes.mean().item()
        size = spikes.shape[1]
        ax.axhspan(base - 0.5, base + size - 0.5, color=f"C{index}", alpha=0.08, linewidth=0)
        ax.scatter(steps + 1, neurons + base, s=24, marker="|", color=f"C{index}", linewidths=1.0)
        ticks.append((base + size / 2, f"{record.name}\n{size} neurons\n{100 * rate:.0f} % fire"))
        base += size + gap
    ax.set_yticks([position for position, _ in ticks], [label for _, label in ticks])
    ax.set_xticks(range(1, time_steps + 1))
    ax.set_xlim(0.5, time_steps + 0.5)
    ax.set_ylim(-gap, base)
    ax.set_xlabel("time step of the decision")
    ax.set_title("Spikes of one decision")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def plot_learning_curve(
    timesteps: Sequence[int], returns: Sequence[Sequence[float]], ax: "Axes | None" = None, label: str | None = None
) -> "Axes":
    """
    Draw mean and standard deviation of the returns over training.

    :param timesteps: environment steps at which the agent was evaluated, ``[evaluations]``
    :param returns: returns of the episodes (or of the seeds) at each of them, ``[evaluations, episodes]``
    :param ax: where to draw; a new figure if None
    :param label: name of the curve in the legend
    :return: the axes
    """
    ax = ax or _new_axes()
    values = th.as_tensor(returns, dtype=th.float64)
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


def _new_axes() -> "Axes":
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.0, 4.5), layout="constrained")[1]
