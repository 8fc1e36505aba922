"""How the kernels are compiled."""

from typing import Any

import numba

UNORDERED = {"reassoc", "contract", "nsz"}
"""What a sum needs that may be taken in any order, as torch's are."""


def jit(function: Any, fastmath: Any = False) -> Any:
    """
    Compile, and cache on disk where there is a place for it.

    :param function: what to compile
    :param fastmath: liberties with floating point; none, where rounding must equal SpikingJelly's
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # Neither the package's folder nor the user's is writable.
        return numba.njit(function, **options)
