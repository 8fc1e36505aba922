"""SB3's zip files read as data: within bounds, and with nothing in them executed."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch as th

from sb3_spiking.conversion.reading.inert_pickles import InertPickle
from sb3_spiking.conversion.reading.saved_tensors import read_tensors

MAX_DATA = 64 * 2**20
"""Bytes of the agent's JSON; it has some 10 kB, and megabytes where image bounds are in it."""
MAX_WEIGHTS = 2**30
"""Bytes of the weights; Atari's network and its target have 14 MB."""
MAX_RATIO = 100
"""How far a member may be compressed; SB3 does not compress at all."""
LEGACY_TORCH = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""A pickled number: with it torch's files began before they were zip files."""


class CheckpointError(ValueError):
    """A file that cannot be read as a trained agent; its text is one printable line, whatever is in the file."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class NeedsCodeError(CheckpointError):
    """A file that only SB3 can read, running the code in it."""


TRUST = "if you trust its author, --trust (trust=True) loads it with SB3, which runs code in the file"
"""The way out of `NeedsCodeError`."""


def printable(text: str, length: int = 600) -> str:
    """
    Return text from a file as one line that a terminal shows as it is.

    :param text: any text
    :param length: characters at most
    :return: the text without line breaks and control characters
    """
    shown = "".join(char if char.isprintable() else " " for char in text[:length])
    return " ".join(shown.split()) + ("..." if len(text) > length else "")


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
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        kind = NeedsCodeError if isinstance(error, NeedsCodeError) else CheckpointError
        raise kind(f"{what}: {reason}") from error


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """
    Open a zip file.

    :param path: where it is
    :return: the archive, and the SHA-256 of the file
    :raises ValueError: if there is no complete zip file
    """
    if not path.is_file():
        raise ValueError("no such file; pass the path of a zip file written by model.save")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            archive = zipfile.ZipFile(file)
            # Torch's files are zip files too, so what is left of ours may end in the directory of one of them.
            if min(info.header_offset for info in archive.infolist()) > 0:
                raise ValueError("the directory of a member")
        except Exception as error:
            raise ValueError("no complete zip file; save or download it again") from error
        with archive:
            yield archive, sha256


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """
    Read one member.

    :param archive: the open zip file
    :param name: its exact name
    :param limit: bytes at most
    :return: its content
    :raises ValueError: if it is not there exactly once, too large, compressed too well or damaged
    """
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise ValueError(f"{len(found)} members {name!r} in place of one; pass a zip file written by model.save")
    info = found[0]
    if info.file_size > min(limit, MAX_RATIO * info.compress_size):
        raise ValueError(f"{name!r} would unpack to {info.file_size} bytes, more than any agent needs")
    # Of the other methods a small part may unpack to anything.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name!r} is compressed in a way that SB3 does not use")
    try:
        with archive.open(info) as member:
            # Without a size it would unpack all there is, whatever the header says.
            return member.read(info.file_size)
    except Exception as error:
        raise ValueError(f"{name!r} is damaged; save or download the file again") from error


def read_data(archive: zipfile.ZipFile) -> dict[str, Any]:
    """
    Read the JSON that describes the agent.

    :param archive: the open zip file
    :return: its values, some of which hold pickles for `read_pickle`
    :raises ValueError: if it is missing, too large or no JSON object
    """
    content = read_member(archive, "data", MAX_DATA)
    with reading("the member 'data' is no JSON"):
        data = json.loads(content)
    if not isinstance(data, dict):
        raise ValueError(f"the member 'data' holds a JSON {type(data).__name__}, no object")
    return data


def read_weights(archive: zipfile.ZipFile) -> dict[str, th.Tensor]:
    """
    Read the policy's state dict.

    :param archive: the open zip file
    :return: tensors by name, networks and target networks
    :raises ValueError: if it is missing, too large, damaged or holds more than tensors
    :raises NeedsCodeError: if torch wrote it before 1.6
    """
    content = read_member(archive, "policy.pth", MAX_WEIGHTS)
    if content.startswith(LEGACY_TORCH):
        raise NeedsCodeError(f"'policy.pth' was written by torch before 1.6; {TRUST}")
    with reading("'policy.pth' is damaged or holds more than tensors"):
        return read_tensors(content)


def read_version(archive: zipfile.ZipFile) -> str | None:
    """
    Read which version of SB3 wrote the file.

    :param archive: the open zip file
    :return: the version, None where the file does not say
    :raises ValueError: if it is there more than once or too long
    """
    if "_stable_baselines3_version" not in archive.namelist():
        return None
    return printable(read_member(archive, "_stable_baselines3_version", 100).decode())


def read_pickle(item: Any) -> InertPickle | None:
    """
    Read one of the agent's attributes, which SB3 pickles where JSON has no word for it.

    :param item: a value of the agent's JSON
    :return: what the pickle says; None where there is none, and the item speaks for itself
    :raises ValueError: if the item announces a pickle and holds none
    """
    if not isinstance(item, dict) or ":serialized:" not in item:
        return None
    serialized = item[":serialized:"]
    if not isinstance(serialized, str):
        raise ValueError("a pickle that is no text")
    return InertPickle(base64.b64decode(serialized.encode()))
