"""Calibration states, from a file of NumPy."""

from pathlib import Path

import numpy as np

from sb3_spiking.errors import Argument
from sb3_spiking.reading.archive import reading
from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.regular_files import open_file
from sb3_spiking.reading.saved_arrays import read_npy
from sb3_spiking.reading.zip_files import Archive

MAX_BYTES, MAX_RATIO = 2**32, 1100
"""Bytes of the file and of its unpacked arrays, and their ratio; deflate shrinks empty grids to 1 / 1032."""


def read_states(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """
    Read states from a file of ``numpy.save`` or ``numpy.savez``, of any name.

    :return: ``[N, *shape]``, or several such arrays by their names, the entries of a Dict
    :raises CheckpointError: if the file holds no arrays, or arrays of different lengths
    """
    with reading(Argument("observations", str(path))), open_file(path, MAX_BYTES) as (file, size):
        start = file.read(2)
        file.seek(0)
        if start == b"PK":
            archive = Archive(file, size, Budget(MAX_BYTES, "bytes to unpack"), ratio=MAX_RATIO)
            arrays = {name.removesuffix(".npy"): read_npy(archive.read(name, MAX_BYTES)) for name in archive.members}
        else:
            arrays = {"": read_npy(file.read())}
        for name, array in arrays.items():
            if array.ndim == 0:
                raise ValueError(f"array {name!r} is a single number; states are [N, *shape]")
            if array.size == 0:
                raise ValueError(f"array {name!r} of shape {array.shape} holds no states; they are [N, *shape]")
        lengths = sorted({len(array) for array in arrays.values()})
        if len(lengths) > 1:
            raise ValueError(f"entries of {lengths} states; they must be of the same states")
        return next(iter(arrays.values())) if len(arrays) == 1 else arrays
