"""NumPy's arrays and numbers, from inert pickles and from ``.npy`` files."""

import io
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.inert_pickles import Construction, Name

MAX_DIMENSIONS = 16


def pickled_array(value: Any, numbers: Budget) -> np.ndarray:
    """
    Return a copy of a pickled array.

    :param value: value in an `InertPickle`
    :param numbers: budget of numbers: a pickle can repeat the same ones any number of times
    :raises ValueError: if it is no array of plain numbers, or too large
    """
    match value:
        case Construction(Name(_, "_frombuffer"), (bytes() | bytearray() as buffer, dtype, shape, order)):
            pass
        case Construction(Name(_, "_reconstruct"), state=(_, shape, dtype, fortran, bytes(buffer))):
            order = "F" if fortran else "C"
        case Construction(Name(_, "scalar"), (dtype, bytes(buffer))):
            shape, order = (), "C"
        case _:
            raise ValueError("values that are no plain numbers")
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or order not in ("C", "F"):
        raise ValueError("values that are no plain numbers")
    kind = pickled_dtype(dtype)
    numbers.take(len(buffer) // kind.itemsize)
    return np.frombuffer(buffer, kind).reshape(shape, order=order).copy()


def pickled_number(value: Any) -> bool | int | float | None:
    """Return a number of Python or NumPy, from an `InertPickle` or JSON, as Python's; None if it is none."""
    if isinstance(value, bool | int | float):
        return value
    try:
        array = pickled_array(value, Budget(1, "numbers"))
    except (ValueError, TypeError):
        return None
    return array.item() if array.shape == () else None


def pickled_dtype(value: Any) -> np.dtype:
    """
    Return a pickled dtype.

    :raises ValueError: if it is not that of bool, integers or floats of 1 to 8 bytes
    """
    match value:
        case Construction(Name("numpy", "dtype"), (str(code), *_), (_, "<" | ">" | "|" | "=" as byteorder, *_)):
            if re.fullmatch(r"b1|[iuf][1248]", code):
                return np.dtype(code).newbyteorder(byteorder)
    raise ValueError("values that are no plain numbers")


HEADERS: dict[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(content: bytes) -> np.ndarray:
    """
    Read a file of ``numpy.save``; nothing is allocated for numbers that the file does not hold.

    :return: array of bool, integers or floats in the machine's byte order, read-only
    :raises ValueError: if the file holds anything else
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError("no array of plain numbers")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:  # structures, texts and objects are others
        raise ValueError(f"an array of {dtype}, not of plain numbers")
    if len(shape) > MAX_DIMENSIONS or min(shape, default=1) < 1:
        raise ValueError(f"an array of shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"its {len(content) - file.tell()} bytes are not those of an array of shape {shape}")
    array = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
