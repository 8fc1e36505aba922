"""Pictures of spiking agents. matplotlib is imported when a picture is drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch as th

from sb3_spiking.snn import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sb3_spiking.conversion.report import Agreement


def plot_spike_raster(recording: Recording, ax: "Axes | None" = None, decision: int = 0) -> "Axes":
    """
    Draw every spike of one decision: steps from left to right, a band for each population from bottom to top.

    :param recording: what [`SpikingNetwork.record`][sb3_spiking.snn.SpikingNetwork.record] returned
    :param ax: where to draw; a new figure if None
    :param decision: which decision of the batch
    :return: the axes
    :raises IndexError: if there is no such decision
    """
    ax = ax or _new_axes()
    height = 0.9
    labels = []
    for band, population in enumerate(recording.populations):
        spikes = population.spikes[:, decision].flatten(1)
        time_steps, neurons = spikes.shape
        step, neuron = (spikes > 0).nonzero(as_tuple=True)
        y = band + height * (neuron + 0.5) / neurons
        ax.axhspan(band, band + height, color=f"C{band}", alpha=0.08, linewidth=0)
        ax.hlines(y, step + 0.55, step + 1.45, color=f"C{band}", linewidth=min(2.0, 60.0 / neurons))
        labels.append(f"{population.name}\n{neurons} neurons\n{100 * spikes.mean().item():.0f} % fire")
    ax.set_yticks([band + height / 2 for band in range(len(labels))], labels)
    ax.set_xticks(range(1, time_steps + 1))
    ax.set_xlim(0.5, time_steps + 0.5)
    ax.set_ylim(-0.1, len(labels))
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


def plot_paired_returns(dqn: Sequence[float], snn: Sequence[float], ax: "Axes | None" = None) -> "Axes":
    """
    Draw what a DQN and its spiking network reach in the same episodes.

    :param dqn: returns of the DQN, ``[episodes]``
    :param snn: returns of the spiking network from the same seeds
    :param ax: where to draw; a new figure if None
    :return: the axes
    """
    ax = ax or _new_axes()
    for position, (label, returns) in enumerate((("DQN", dqn), ("SNN", snn))):
        values = th.as_tensor(returns, dtype=th.float64)
        spread = th.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else th.zeros(1)
        ax.scatter(position + spread, values, s=18, alpha=0.6, color=f"C{position}", linewidths=0)
        mean = values.mean().item()
        ax.hlines(mean, position - 0.22, position + 0.22, color=f"C{position}", linewidth=2)
        ax.annotate(f"{mean:.4g}", (position + 0.25, mean), va="center", color=f"C{position}")
        ax.text(position, -0.08, label, ha="center", transform=ax.get_xaxis_transform())
    ax.set_xticks([])
    ax.set_xlim(-0.5, 1.6)
    ax.set_ylabel("return")
    ax.set_title("The same episodes")
    ax.grid(axis="y", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_sweep(name: str, results: Mapping[str, "Agreement"], ax: "Axes | None" = None) -> "Axes":
    """
    Draw how often a spiking network decides as its DQN, for several values of a setting.

    :param name: the setting
    :param results: its values, and the comparison with the DQN for each of them
    :param ax: where to draw; a new figure if None
    :return: the axes
    """
    ax = ax or _new_axes()
    places = range(len(results))
    ax.plot(places, [100 * result.agreement for result in results.values()], marker="o", label="with membranes")
    ax.plot(
        places, [100 * result.spikes_agreement for result in results.values()], marker="o", ls=":", label="spikes alone"
    )
    ax.set_xticks(list(places), list(results))
    ax.set_ylim(top=102)
    ax.set_xlabel(name)
    ax.set_ylabel("equal decisions [%]")
    ax.set_title("Agreement with the DQN")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower right")
    return ax


def _new_axes() -> "Axes":
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.0, 4.5), layout="constrained")[1]
