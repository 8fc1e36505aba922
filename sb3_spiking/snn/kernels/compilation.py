"""How the kernels are compiled."""

from typing import Any

import numba


def jit(function: Any) -> Any:
    """Compile, and cache on disk where there is a place for it."""
    # Rounding must equal SpikingJelly's, operation by operation: no fastmath, no contraction.
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # Neither the package's folder nor the user's is writable.
        return numba.njit(function, nogil=True, error_model="numpy")
