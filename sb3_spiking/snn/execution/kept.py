"""Memory for what the backward pass of a whole network needs of its forward pass."""

from typing import NamedTuple

import numpy as np


class Kept(NamedTuple):
    """
    What a forward pass keeps; all of it empty where there will be no backward pass.

    The rows of observations and time steps lie tile by tile (``observations_of_tile``), and within a tile step by step:
    those of the tile that starts with observation n begin at row T n.

    :ivar inputs: inputs of the layers one after the other, ``[rows, inputs]`` each, flat: spikes, or the constant
        currents of the first layer, which have a row for each observation; and room for ``lanes.BITS`` more numbers
    :ivar traces: states of the layers before each reset, ``[kept, T, observations, neurons]`` for each layer and tile,
        flat
    :ivar activity: activity of the receptive fields, ``[N * D * P]``
    :ivar sums: weighted sums of the last spikes over the steps, ``[N * F]``
    """

    inputs: np.ndarray
    traces: np.ndarray
    activity: np.ndarray
    sums: np.ndarray


NOTHING = Kept(*(np.empty(0, np.float32) for _ in Kept._fields))
