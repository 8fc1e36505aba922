"""Restoring the random states of Python, NumPy, torch and spaces."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch as th
from gymnasium import spaces


@contextmanager
def randomness_untouched(*drawn: spaces.Space) -> Iterator[None]:
    """
    Restore random states: replay buffers draw from NumPy's, Poisson encoders from torch's, exploration from a space's.

    :param drawn: spaces whose states are restored beside the global ones
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (SB3 samples from it)
    own = [space.np_random.bit_generator.state for space in drawn]
    try:
        with th.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for space, state in zip(drawn, own, strict=True):
            space.np_random.bit_generator.state = state
