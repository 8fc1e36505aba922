"""Compilation of numba kernels, and their cache on disk."""

import hashlib
import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache, IndexDataCacheFile

from sb3_spiking.notices import warn_once
from sb3_spiking.snn import elementwise

SOURCES = Path(__file__).parents[1]
"""Folder of the sources that are compiled into kernels."""

UNORDERED = {"reassoc", "contract", "nsz"}
"""Liberties with floating point for sums in any order, like torch's."""

DIGEST = hashlib.sha256().digest_size


def jit(function: Any, *inside: Any, fastmath: Any = False) -> Any:
    """
    Compile a function, and cache it on disk where a folder can be written.

    :param function: function to compile
    :param inside: elementwise functions and numbers compiled into it, where it is a closure made for these
    :param fastmath: liberties with floating point; none where rounding must equal SpikingJelly's
    """
    compiled = numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath)
    with suppress(RuntimeError, OSError):  # Neither the package's folder nor the user's is writable.
        compiled._cache = KernelCache(function, inside)
    return compiled


_inlined = partial(numba.njit, nogil=True, error_model="numpy")

OWN = {
    elementwise.where: _inlined(lambda condition, a, b: a if condition else b),
    elementwise.divide: _inlined(lambda a, b: a / b),
    elementwise.absolute: _inlined(lambda x: abs(x)),
    elementwise.exp: _inlined(lambda x: np.exp(x)),
}
"""Elementwise functions -> numba's replacements."""


@cache
def inlined(function: Callable[..., Any]) -> Any:
    """Compile an equation of a neuron or derivative of a surrogate, to be inlined into a loop."""
    return elementwise.compiled_by(_inlined, OWN, function)


class KernelCache(FunctionCache):
    """
    numba's cache on disk, without two of its traps.

    numba takes compiled code for current if its own source file is unchanged, although the functions that it calls are
    compiled into it; here a change of any source makes all kernels stale. A file that is damaged or cannot be written
    costs a compilation and a warning, not an exception.
    """

    def __init__(self, function: Any, inside: Sequence[Any] = ()) -> None:
        super().__init__(function)
        self._inside = tuple(map(_identity, inside))
        # Closures for different equations have one name: each gets files of its own.
        own = hashlib.sha256(repr(self._inside).encode()).hexdigest()[:12] if inside else ""
        self._cache_file = CheckedFiles(self._cache_path, self._impl.filename_base + own, sources_digest())

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # numba would compare the pickled functions of the closure, which differ in the next process.
        return (sig, codegen.magic_tuple(), self._inside) if self._inside else super()._index_key(sig, codegen)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling a damaged file may raise anything
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
    """
    Files of a cached function, each with a digest at its end, since numba would run damaged machine code, and with its
    key, since two processes that compile at once may give their files the same number.
    """

    def save(self, key: Any, data: Any) -> None:
        super().save(key, (key, data))

    def load(self, key: Any) -> Any:
        found = super().load(key)
        return None if found is None or found[0] != key else found[1]

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
    """Return a digest of all the sources of kernels, since one inlines the others."""
    digest = hashlib.sha256()
    files = [SOURCES / "elementwise.py", SOURCES / "surrogates.py"]
    for path in sorted([*files, *SOURCES.glob("execution/*.py"), *SOURCES.glob("neurons/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _identity(value: Any) -> str:
    """Return a digest of all that code compiled with a function or number depends on."""
    name = getattr(value, "__qualname__", "")
    return hashlib.sha256(repr((name, _meaning(value, ()))).encode()).hexdigest()


def _meaning(value: Any, above: tuple[Any, ...]) -> Any:
    """Describe a function by its code, and the functions and numbers that it uses, wherever they are defined."""
    if not isinstance(value, FunctionType):
        return value.__name__ if isinstance(value, ModuleType) else repr(value)
    if value in above:  # recursion
        return value.__qualname__
    code, scope = value.__code__, value.__globals__
    used = {name: _meaning(scope[name], (*above, value)) for name in code.co_names if name in scope}
    return code.co_code, code.co_names, repr(code.co_consts), repr(value.__defaults__), used


def warn_of_cache(folder: str, error: Exception) -> None:
    """Warn, once for each reason, that kernels are compiled anew."""
    warn_once(
        f"The compiled kernels in {folder} cannot be used or kept ({type(error).__name__}), so they are compiled anew, "
        "which takes some seconds. Delete *.nbi and *.nbc there, or set NUMBA_CACHE_DIR to a folder with room."
    )
