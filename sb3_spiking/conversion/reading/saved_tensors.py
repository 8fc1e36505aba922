"""Torch's files of tensors, read as data: bytes and shapes, without the unpickler that could be kept busy forever."""

import io
import zipfile
from typing import Any

import torch as th

from sb3_spiking.conversion.reading.inert_pickles import InertPickle, Made, Name, Persistent

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


def read_tensors(content: bytes) -> dict[str, th.Tensor]:
    """
    Read a state dict that ``torch.save`` of torch 1.6 or later has written.

    :param content: the file
    :return: tensors by name, on the CPU; those that share memory in the file share it here
    :raises ValueError: if it is another file, or holds more than dense tensors by name
    """
    if not content.startswith(b"PK"):
        raise ValueError("no zip file")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        # Torch compresses nothing: this bounds what is unpacked.
        if sum(info.file_size for info in archive.infolist()) > len(content):
            raise ValueError("a compressed member")
        folder = archive.namelist()[0].split("/")[0]
        if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
            raise ValueError("numbers of a big-endian machine")
        saved = InertPickle(archive.read(f"{folder}/data.pkl"))
        if saved.problem:
            raise ValueError(saved.problem)
        state = saved.value.entries if isinstance(saved.value, Made) else saved.value
        if not isinstance(state, dict):
            raise ValueError("no tensors by name")
        storages: dict[str, th.Tensor] = {}
        return {name: _tensor(name, value, archive, folder, storages) for name, value in state.items()}


def _tensor(name: str, value: Any, archive: zipfile.ZipFile, folder: str, storages: dict[str, th.Tensor]) -> th.Tensor:
    match value:
        case Made(
            Name("torch._utils", "_rebuild_tensor_v2"),
            (Persistent(("storage", Name("torch", kind), str(key), _, _)), int(offset), shape, strides, *_),
        ) if kind in DTYPES:
            if key not in storages:
                storages[key] = th.frombuffer(bytearray(archive.read(f"{folder}/data/{key}")), dtype=DTYPES[kind])
            return storages[key].as_strided(shape, strides, offset)  # torch refuses what lies outside
    raise ValueError(f"{name!r} is no dense tensor of numbers")
