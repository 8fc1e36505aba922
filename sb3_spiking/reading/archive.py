"""Members of SB3's zip files, read as data and within bounds."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch as th

from sb3_spiking.errors import Argument, InputError
from sb3_spiking.printable import printable
from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.fields import read_json
from sb3_spiking.reading.inert_pickles import InertPickle
from sb3_spiking.reading.saved_tensors import read_tensors
from sb3_spiking.reading.zip_files import Archive

MAX_DATA = 64 * 2**20
"""Bytes of the agent's JSON; usually 10 kB, megabytes with the bounds of images."""
MAX_FIELDS = 1000
"""Attributes of the agent; SB3's have some 60."""
MAX_WEIGHTS = 2**30
"""Bytes of the weights; an Atari network and its target take 14 MB."""
LEGACY_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""Pickled magic number at the start of torch's files before 1.6, which are no zip files."""


class CheckpointError(InputError):
    """A file that cannot be read as a trained agent."""


class NeedsCodeError(CheckpointError):
    """A file that SB3 alone can read, by running code in it."""


TRUST = ("if you trust its author, ", Argument("trust", True), " loads it with SB3, which runs code in the file")
"""Advice at the end of a `NeedsCodeError`, in parts."""


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Raise any exception, of zipfile, json, torch or gymnasium, as a `CheckpointError` that begins with ``what``."""
    try:
        yield
    except Exception as error:
        # ValueErrors, our own and those of json, explain themselves; other errors need the name of their type.
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        kind = NeedsCodeError if isinstance(error, NeedsCodeError) else CheckpointError
        raise kind(what, ": ", reason) from error


def read_data(archive: Archive) -> dict[str, Any]:
    """
    Read the agent's attributes, some of which hold pickles for `read_pickle`.

    :raises ValueError: if the member is missing, too large or no JSON object
    """
    content = archive.read("data", MAX_DATA)
    with reading("the member 'data' is no JSON"):
        data = read_json(content)
    if not isinstance(data, dict):
        raise ValueError(f"the member 'data' holds a JSON {type(data).__name__}, no object")
    if len(data) > MAX_FIELDS:
        raise ValueError(f"the member 'data' has {len(data)} fields, more than any agent's")
    return data


def read_weights(archive: Archive) -> dict[str, th.Tensor]:
    """
    Read the policy's state dict, target networks included.

    :raises ValueError: if the member is missing, too large, damaged or holds more than tensors
    :raises NeedsCodeError: if a torch before 1.6 wrote it
    """
    content = archive.read("policy.pth", MAX_WEIGHTS)
    if content.startswith(LEGACY_TORCH):
        raise NeedsCodeError("'policy.pth' was written by torch before 1.6")
    with reading("'policy.pth' is damaged or holds more than tensors"):
        return read_tensors(content, archive.budget)


def read_version(archive: Archive) -> str | None:
    """Read the version of SB3 that wrote the file, None where it is not noted."""
    if "_stable_baselines3_version" not in archive.members:
        return None
    return printable(archive.read("_stable_baselines3_version", 100).decode())


def read_pickle(item: Any, opcodes: Budget | None = None) -> InertPickle | None:
    """
    Read the pickle in one of the agent's attributes; SB3 pickles values that JSON does not know.

    :param opcodes: budget of opcodes, that of one pickle if None
    :return: the pickle, None if the attribute is plain JSON
    :raises ValueError: if a pickle is announced and missing
    """
    if not isinstance(item, dict) or ":serialized:" not in item:
        return None
    serialized = item[":serialized:"]
    if not isinstance(serialized, str):
        raise ValueError("a pickle that is no text")
    return InertPickle(base64.b64decode(serialized.encode()), opcodes)
