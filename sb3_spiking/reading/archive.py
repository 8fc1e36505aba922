"""SB3's zip files read as data: within bounds, and with nothing in them executed."""

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
"""Bytes of the agent's JSON; it has some 10 kB, and megabytes where image bounds are in it."""
MAX_FIELDS = 1000
"""Attributes of the agent; SB3's have some 60."""
MAX_WEIGHTS = 2**30
"""Bytes of the weights; Atari's network and its target have 14 MB."""
LEGACY_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""A pickled number: with it torch's files began before they were zip files."""


class CheckpointError(InputError):
    """A file that cannot be read as a trained agent."""


class NeedsCodeError(CheckpointError):
    """A file that only SB3 can read, running the code in it."""


TRUST = ("if you trust its author, ", Argument("trust", True), " loads it with SB3, which runs code in the file")
"""The way out of `NeedsCodeError`, in parts."""


@contextmanager
def reading(what: object) -> Iterator[None]:
    """
    Turn whatever hostile bytes provoke in zipfile, json, torch and gymnasium into one error.

    :param what: what is read, the start of the message
    :raises CheckpointError: if anything fails
    """
    try:
        yield
    except Exception as error:
        # Our own refusals and those of json are ValueErrors; the text of any other error needs its name.
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        kind = NeedsCodeError if isinstance(error, NeedsCodeError) else CheckpointError
        raise kind(what, ": ", reason) from error


def read_data(archive: Archive) -> dict[str, Any]:
    """
    Read the JSON that describes the agent.

    :param archive: the open zip file
    :return: its values, some of which hold pickles for `read_pickle`
    :raises ValueError: if it is missing, too large or no JSON object
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
    Read the policy's state dict.

    :param archive: the open zip file
    :return: tensors by name, networks and target networks
    :raises ValueError: if it is missing, too large, damaged or holds more than tensors
    :raises NeedsCodeError: if torch wrote it before 1.6
    """
    content = archive.read("policy.pth", MAX_WEIGHTS)
    if content.startswith(LEGACY_TORCH):
        raise NeedsCodeError("'policy.pth' was written by torch before 1.6")
    with reading("'policy.pth' is damaged or holds more than tensors"):
        return read_tensors(content, archive.budget)


def read_version(archive: Archive) -> str | None:
    """
    Read which version of SB3 wrote the file.

    :param archive: the open zip file
    :return: the version, None where the file does not say
    :raises ValueError: if it is there more than once or too long
    """
    if "_stable_baselines3_version" not in archive.members:
        return None
    return printable(archive.read("_stable_baselines3_version", 100).decode())


def read_pickle(item: Any, opcodes: Budget | None = None) -> InertPickle | None:
    """
    Read one of the agent's attributes, which SB3 pickles where JSON has no word for it.

    :param item: a value of the agent's JSON
    :param opcodes: how many there may be; if None, as many as in one pickle
    :return: what the pickle says; None where there is none, and the item speaks for itself
    :raises ValueError: if the item announces a pickle and holds none
    """
    if not isinstance(item, dict) or ":serialized:" not in item:
        return None
    serialized = item[":serialized:"]
    if not isinstance(serialized, str):
        raise ValueError("a pickle that is no text")
    return InertPickle(base64.b64decode(serialized.encode()), opcodes)
