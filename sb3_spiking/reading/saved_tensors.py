"""State dicts in torch's files, read as bytes and shapes, without torch's unpickler: it could be kept busy forever."""

import io
from typing import Any

import torch as th

from sb3_spiking.printable import printable
from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.inert_pickles import Construction, InertPickle, Name, Persistent
from sb3_spiking.reading.zip_files import Archive

DTYPES = {
    "FloatStorage": th.float32,
    "DoubleStorage": th.float64,
    "HalfStorage": th.float16,
    "BFloat16Storage": th.bfloat16,
    "LongStorage": th.int64,
    "IntStorage": th.int32,
    "ShortStorage": th.int16,
    "CharStorage": th.int8,
    "ByteStorage": th.uint8,
    "BoolStorage": th.bool,
}

MAX_STORAGE, MAX_TENSORS, MAX_DIMENSIONS, MAX_NAME = 2**30, 10_000, 16, 200
"""Bounds: bytes of a storage, number of tensors, dimensions of a tensor, characters of a name."""


def read_tensors(content: bytes, budget: Budget | None = None) -> dict[str, th.Tensor]:
    """
    Read a state dict of ``torch.save``, torch 1.6 or later; tensors that share memory in the file share it here.

    :param budget: bytes that may be unpacked, by the size of the file if None
    :raises ValueError: if the file is of another kind, or holds anything but dense tensors by name
    """
    if not content.startswith(b"PK"):
        raise ValueError("no zip file")
    archive = Archive(io.BytesIO(content), len(content), budget)
    if sum(size for _, size in archive.sizes) > len(content):
        raise ValueError("a compressed member")  # Torch compresses nothing.
    folder = archive.sizes[0][0].split("/")[0]
    if len(folder) > MAX_NAME:
        raise ValueError("a folder whose name is too long")
    if f"{folder}/byteorder" in archive.members and archive.read(f"{folder}/byteorder", 6) != b"little":
        raise ValueError("numbers of a big-endian machine")
    saved = InertPickle(archive.read(f"{folder}/data.pkl", len(content)))
    if saved.problem:
        raise ValueError(saved.problem)
    state = saved.value.entries if isinstance(saved.value, Construction) else saved.value
    if not isinstance(state, dict) or len(state) > MAX_TENSORS:
        raise ValueError("no tensors by name")
    storages: dict[str, th.Tensor] = {}
    return {name: _tensor(name, value, archive, folder, storages) for name, value in state.items()}


def _tensor(name: str, value: Any, archive: Archive, folder: str, storages: dict[str, th.Tensor]) -> th.Tensor:
    match value:
        case Construction(
            Name("torch._utils", "_rebuild_tensor_v2"),
            (Persistent(("storage", Name("torch", kind), str(key), _, _)), int(offset), shape, strides, *_),
        ) if kind in DTYPES and len(key) <= MAX_NAME and _is_short(shape) and _is_short(strides):
            if key not in storages:
                numbers = bytearray(archive.read(f"{folder}/data/{key}", MAX_STORAGE))
                storages[key] = th.frombuffer(numbers, dtype=DTYPES[kind])
            return storages[key].as_strided(shape, strides, offset)  # torch refuses what lies outside
    raise ValueError(f"{printable(name)!r} is no dense tensor of numbers")


def _is_short(sizes: Any) -> bool:
    return isinstance(sizes, tuple) and len(sizes) <= MAX_DIMENSIONS
