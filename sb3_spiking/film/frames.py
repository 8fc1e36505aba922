"""Frames of a film: the environment's image, and the agent's spikes beside it."""

from collections import deque
from typing import TYPE_CHECKING, cast

import numpy as np

from sb3_spiking.plotting import plot_spike_history
from sb3_spiking.plotting.axes import new_figure
from sb3_spiking.snn import Recording

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

COLUMNS = 100
"""Time steps that are shown at once, unless one decision takes more."""
DPI = 100
HEIGHT, SPIKES = 3.8, 4.0
"""Height of a frame and width of its spikes, in inches."""
LABELS, RATES, FOOT, HEAD = 0.9, 0.55, 0.5, 0.35
"""Margins around the spikes for their labels, in inches."""


class SpikeFrames:
    """
    Draws frames of one size.

    :param image: first image of the environment, ``[height, width, 3]``
    :param recording: recording of the first decision
    """

    def __init__(self, image: np.ndarray, recording: Recording) -> None:
        self._decisions = max(1, COLUMNS // len(recording.populations[0].spikes))
        self._recordings: deque[Recording] = deque(maxlen=self._decisions)
        room = HEIGHT - HEAD
        aspect = image.shape[1] / image.shape[0]
        width = round((room * aspect + LABELS + SPIKES + RATES) * DPI / 2) * 2 / DPI  # H.264 needs even numbers
        figure = new_figure(figsize=(width, HEIGHT), dpi=DPI)
        self._canvas = cast("FigureCanvasAgg", figure.canvas)
        self._scene = figure.add_axes((0.0, 0.0, room * aspect / width, room / HEIGHT))
        self._scene.set_axis_off()
        self._image = self._scene.imshow(image, aspect="auto")
        left = room * aspect + LABELS
        self._spikes = figure.add_axes((left / width, FOOT / HEIGHT, SPIKES / width, (room - FOOT) / HEIGHT))

    def draw(self, image: np.ndarray, recording: Recording, title: str) -> np.ndarray:
        """
        Draw the next frame.

        :param image: image of the environment
        :param recording: recording of the decision on it
        :param title: title of the image
        :return: ``[height, width, 3]`` of uint8
        """
        self._recordings.append(recording)
        self._image.set_data(image)
        self._scene.set_title(title, fontsize=10)
        self._spikes.clear()
        plot_spike_history(list(self._recordings), self._spikes, self._decisions)
        self._spikes.set_title(self._spikes.get_title(), fontsize=10)
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()
