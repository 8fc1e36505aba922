"""The frames of a film: an environment, and beside it the spikes of its agent."""

from collections import deque

import numpy as np

from sb3_spiking.plotting import plot_spike_history
from sb3_spiking.snn import Recording

COLUMNS = 100
"""Time steps that are in the picture at once, if a decision does not take more."""
DPI = 100
HEIGHT, SPIKES = 3.8, 4.0
"""Inches: height of a frame, width of its spikes."""
LABELS, RATES, FOOT, HEAD = 0.9, 0.55, 0.5, 0.35
"""Inches around the spikes for what is written there."""


class Screen:
    """
    Draws one frame after the other.

    :param image: first picture of the environment, ``[height, width, 3]``
    :param recording: first decision
    """

    def __init__(self, image: np.ndarray, recording: Recording) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._decisions = max(1, COLUMNS // len(recording.populations[0].spikes))
        self._recordings: deque[Recording] = deque(maxlen=self._decisions)
        room = HEIGHT - HEAD
        aspect = image.shape[1] / image.shape[0]
        width = round((room * aspect + LABELS + SPIKES + RATES) * DPI / 2) * 2 / DPI  # H.264 wants even numbers
        figure = Figure(figsize=(width, HEIGHT), dpi=DPI)
        self._canvas = FigureCanvasAgg(figure)
        self._scene = figure.add_axes((0.0, 0.0, room * aspect / width, room / HEIGHT))
        self._scene.set_axis_off()
        self._image = self._scene.imshow(image, aspect="auto")
        left = room * aspect + LABELS
        self._spikes = figure.add_axes((left / width, FOOT / HEIGHT, SPIKES / width, (room - FOOT) / HEIGHT))

    def shot(self, image: np.ndarray, recording: Recording, title: str) -> np.ndarray:
        """
        Draw a frame.

        :param image: picture of the environment
        :param recording: the decision that is made there
        :param title: what stands above the picture
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
