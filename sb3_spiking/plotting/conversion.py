"""Pictures of a conversion: returns of the same episodes, and agreement over a setting."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch as th

from sb3_spiking.plotting.axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SharesEqual(Protocol):
    """Shares of equal decisions, in [0, 1]; see [`Agreement`][sb3_spiking.conversion.agreement.Agreement]."""

    @property
    def agreement(self) -> float: ...

    @property
    def spikes_agreement(self) -> float: ...


def plot_paired_returns(
    first: Sequence[float],
    second: Sequence[float],
    ax: "Axes | None" = None,
    labels: tuple[str, str] = ("DQN", "SNN"),
) -> "Axes":
    """
    Draw the returns of a DQN and its spiking network in the same episodes, or of any two agents.

    :param first: returns of the DQN, ``[episodes]``
    :param second: returns of the spiking network on the same seeds, ``[episodes]``
    :param ax: axes to draw on; those of a new figure if None
    :param labels: names of the two agents
    :return: the axes
    :raises ValueError: if the two differ in length, or are empty
    """
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(
            f"first and second must be returns of the same episodes; there are {len(first)} and {len(second)}"
        )
    ax = ax or new_axes()
    for position, (label, returns) in enumerate(zip(labels, (first, second), strict=True)):
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


def plot_sweep(name: str, results: Mapping[str, SharesEqual], ax: "Axes | None" = None) -> "Axes":
    """
    Draw the agreement of a spiking network with its DQN over the values of a setting.

    :param name: name of the setting
    :param results: comparison with the DQN for each value
    :param ax: axes to draw on; those of a new figure if None
    :return: the axes
    :raises ValueError: if there is no result
    """
    if not results:
        raise ValueError(f"results of {name} are empty: there is nothing to draw")
    ax = ax or new_axes()
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
