"""How the kernels are compiled, and kept on disk from one process to the next."""

import hashlib
import pickle
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from sb3_spiking.notices import warn

UNORDERED = {"reassoc", "contract", "nsz"}
"""What a sum needs that may be taken in any order, as torch's are."""

DIGEST = hashlib.sha256().digest_size


def jit(function: Any, fastmath: Any = False) -> Any:
    """
    Compile, and cache on disk where there is a place for it.

    :param function: what to compile
    :param fastmath: liberties with floating point; none, where rounding must equal SpikingJelly's
    """
    compiled = numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath)
    with suppress(RuntimeError, OSError):  # Neither the package's folder nor the user's is writable.
        compiled._cache = KernelCache(function)
    return compiled


class KernelCache(FunctionCache):
    """
    numba's cache on disk, with two of its traps removed.

    numba takes compiled code for up to date if its own source file is unchanged, although the functions that it calls
    are compiled into it: here a change of any source makes all kernels stale. A file that is damaged, or cannot be
    written, costs a compilation and a warning instead of an exception.

    :param function: what is compiled
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = CheckedFiles(self._cache_path, self._impl.filename_base, sources_digest())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever unpickling a damaged file raises
            warn_of_cache(self._cache_path, error)
            return self._start_over()

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            warn_of_cache(self._cache_path, error)
            self.disable()

    def _start_over(self) -> None:
        try:
            self.flush()
        except Exception:
            self.disable()


class CheckedFiles(IndexDataCacheFile):
    """The files of a cached function, each with a digest at its end: numba would run damaged machine code."""

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return data + hashlib.sha256(data).digest()  # unpickling stops before it

    def _load_data(self, name: str) -> Any:
        data = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(data[:-DIGEST]).digest() != data[-DIGEST:]:
            raise ValueError(f"{name} is damaged")
        return pickle.loads(data)


@cache
def sources_digest() -> str:
    """Return a digest of all the kernels' sources: what is compiled from one inlines the others."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def warn_once(message: str) -> None:
    """
    Warn, once in a process.

    :param message: what to say
    """
    warn(message)


def warn_of_cache(folder: str, error: Exception) -> None:
    """
    Say why kernels are compiled anew, once for each reason.

    :param folder: where the cache is
    :param error: what went wrong
    """
    warn_once(
        f"The compiled kernels in {folder} cannot be used or kept ({type(error).__name__}), so they are compiled anew, "
        "which takes some seconds. Delete *.nbi and *.nbc there, or set NUMBA_CACHE_DIR to a folder with room."
    )
