"""What the pictures share: axes, and bands from bottom to top."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = 0.9
"""Height of a band; the next one begins at 1."""


def new_axes() -> "Axes":
    """Return the axes of a new figure."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.0, 4.5), layout="constrained")[1]


def label_bands(ax: "Axes", labels: Sequence[str]) -> None:
    """
    Make the vertical axis one of bands: the i-th reaches from ``i`` to ``i + BAND``.

    :param ax: where they are drawn
    :param labels: what stands beside each, from bottom to top
    """
    ax.set_yticks([band + BAND / 2 for band in range(len(labels))], labels)
    ax.set_ylim(-0.1, len(labels))
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
