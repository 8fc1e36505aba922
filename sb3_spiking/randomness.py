"""Restoring the random states of NumPy and torch."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch as th


@contextmanager
def randomness_untouched() -> Iterator[None]:
    """Restore the global random states: replay buffers draw from NumPy's, Poisson encoders from torch's."""
    state = np.random.get_state()  # noqa: NPY002 (SB3 samples from it)
    try:
        with th.random.fork_rng():
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
