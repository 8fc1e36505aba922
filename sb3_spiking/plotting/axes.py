"""Axes of the pictures, and their bands from bottom to top."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sb3_spiking.snn import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND = 0.9
"""Height of a band; the next one begins at 1."""


def new_figure(**settings: Any) -> "Figure":
    """
    Return a new figure that needs no screen and no pyplot, which would keep it.

    :param settings: arguments of matplotlib's ``Figure``
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(**settings)
    FigureCanvasAgg(figure)
    return figure


def new_axes() -> "Axes":
    """Return the axes of a new figure."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.0, 4.5), layout="constrained")[1]


def check_recording(name: str, recording: object) -> None:
    """
    Check that an argument is a recording.

    :param name: name of the argument, for the error
    :param recording: value of the argument
    :raises TypeError: if it is something else; the message tells how to make a recording
    :raises ValueError: if it holds no population
    """
    if not isinstance(recording, Recording):
        raise TypeError(
            f"{name} is a {type(recording).__name__}, not a recording; make one with "
            "policy.spiking_network.record(policy.spiking_features(observations))"
        )
    if not recording.populations:
        raise ValueError(f"{name} holds no population of neurons: nothing was recorded")


def label_bands(ax: "Axes", labels: Sequence[str]) -> None:
    """Label the bands of a vertical axis from bottom to top: the i-th reaches from ``i`` to ``i + BAND``."""
    ax.set_yticks([band + BAND / 2 for band in range(len(labels))], labels)
    ax.set_ylim(-0.1, len(labels))
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
