"""Picture of the spikes of consecutive decisions, as films show it beside the agent."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch as th
import torch.nn.functional as F

from sb3_spiking.plotting.axes import check_recording, new_axes
from sb3_spiking.snn import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS = 64
"""Maximum number of rows of a population's band."""
GAP = 0.5


def plot_spike_history(
    recordings: Sequence[Recording], ax: "Axes | None" = None, decisions: int | None = None
) -> "Axes":
    """
    Draw the spikes of consecutive decisions, the latest one at the right; a line marks the start of each.

    Each population has a band, wider for a larger one, with its size and its firing rate. In populations of more than
    64 neurons, a row is the mean of several. Negative spikes of converted networks are dark.

    :param recordings: recordings of one decision each, from the earliest to the latest
    :param ax: axes to draw on; those of a new figure if None
    :param decisions: maximum number of decisions, the latest are drawn; all of them if None
    :return: the axes
    :raises ValueError: if there is no recording
    """
    if isinstance(recordings, Recording) or not isinstance(recordings, Sequence):
        raise TypeError(
            f"recordings is a {type(recordings).__name__}; it must be a list of recordings, one per decision"
        )
    for index, recording in enumerate(recordings):
        check_recording(f"recordings[{index}]", recording)
    if not recordings:
        raise ValueError("recordings=[] must hold at least one decision")
    from matplotlib.colors import LinearSegmentedColormap

    decisions = decisions or len(recordings)
    shown = recordings[-decisions:]
    time_steps = len(shown[-1].populations[0].spikes)
    ax = ax or new_axes()
    middles, labels, low = [], [], 0.0
    for band, population in enumerate(shown[-1].populations):
        spikes = th.cat([recording.populations[band].spikes[:, 0].flatten(1) for recording in shown])
        neurons = spikes.shape[1]
        high = low + math.log2(1 + neurons)
        ax.imshow(
            _rows(spikes).T.numpy(),
            extent=(-len(spikes), 0, low, high),
            origin="lower",
            aspect="auto",
            cmap=LinearSegmentedColormap.from_list(population.name, ["0.2", "white", f"C{band}"]),
            vmin=-1,
            vmax=1,
            interpolation="nearest",
        )
        middles.append((low + high) / 2)
        labels.append(f"{population.name}\n{neurons}")
        rate = f"{100 * spikes.abs().mean().item():.0f} %"
        ax.text(1.01, middles[-1], rate, color=f"C{band}", va="center", transform=ax.get_yaxis_transform())
        low = high + GAP
    ax.vlines(range(-decisions * time_steps, 0, time_steps), 0, low - GAP, color="0.8", linewidth=0.6)
    ax.set_xlim(-decisions * time_steps, 0)
    ax.set_ylim(0, low - GAP)
    ax.set_yticks(middles, labels)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("time steps until now")
    ax.set_title("Spikes of the latest decisions")
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def _rows(spikes: th.Tensor) -> th.Tensor:
    """
    Average the spikes of groups of neurons, at most `ROWS` groups.

    :param spikes: ``[steps, neurons]``
    :return: mean absolute spikes of each group, with the sign of its majority, ``[steps, groups]``
    """
    group = math.ceil(spikes.shape[1] / ROWS)
    sent, balance = (F.avg_pool1d(values, group, ceil_mode=True) for values in (spikes.abs(), spikes))
    return sent.where(balance >= 0, -sent)
