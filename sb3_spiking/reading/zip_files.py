"""Zip files of unknown origin: how much may be in them, and how much of it is unpacked."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.regular_files import open_file

MAX_RATIO = 100
"""How far a member may be compressed; SB3 does not compress at all."""
MAX_FILE = 2**32
"""Bytes of a file."""
MAX_SMALL, MAX_GROWTH = 2**24, 4
"""Bytes that may be unpacked of any file, and how many times its own size of a large one; torch's files nest."""
MAX_MEMBERS, MAX_DIRECTORY = 10_000, 2**21
"""Members of a zip file, torch's have one for each tensor; and bytes of its directory."""
ENCRYPTED = 1
"""Flag of a member."""


class _TooLargeError(ValueError):
    """A directory of a zip file that no agent has."""


class _Directory(io.BufferedReader):
    """A zip file that is being opened: its directory is the only large part that zipfile asks for."""

    most = MAX_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise _TooLargeError(f"its directory has {size} bytes, more than any agent's")
        return super().read(size)


class Archive:
    """
    A zip file of unknown origin; what is unpacked of it counts against one budget.

    :param file: the zip file
    :param size: its bytes
    :param budget: bytes that may be unpacked of it; for one that is nested in another, the budget of that
    :param ratio: how far a member may be compressed
    :raises ValueError: if it is no complete zip file, has too many members, or two in the same place
    """

    def __init__(
        self, file: io.BufferedIOBase, size: int, budget: Budget | None = None, ratio: int = MAX_RATIO
    ) -> None:
        self.budget = Budget(MAX_SMALL + MAX_GROWTH * size, "bytes to unpack") if budget is None else budget
        self._ratio = ratio
        self._file = directory = _Directory(file)
        try:
            self._zip = zipfile.ZipFile(directory)
            infos = sorted(self._zip.infolist(), key=lambda info: info.header_offset)
            # Torch's files are zip files too, so what is left of ours may end in the directory of one of them.
            complete = infos[0].header_offset == 0
        except _TooLargeError:
            raise
        except Exception as error:
            raise ValueError("no complete zip file; save or download it again") from error
        directory.most = size
        if not complete:
            raise ValueError("no complete zip file; save or download it again")
        if len(infos) > MAX_MEMBERS:
            raise ValueError(f"it has {len(infos)} members, more than any agent's")
        ends = [*(info.header_offset for info in infos[1:]), self._zip.start_dir]
        if any(info.header_offset + info.compress_size > end for info, end in zip(infos, ends, strict=True)):
            raise ValueError("its members overlap, as no program writes them")
        self.members = {name: list(found) for name, found in _grouped(self._zip.infolist()).items()}

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """Names and unpacked sizes of the members, as the directory has them."""
        return [(info.filename, info.file_size) for info in self._zip.infolist()]

    def sha256(self) -> str:
        """Return the checksum of the whole file."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def read(self, name: str, limit: int) -> bytes:
        """
        Read one member.

        :param name: its exact name
        :param limit: bytes at most
        :return: its content
        :raises ValueError: if it is not there exactly once, too large, compressed too well or damaged
        """
        found = self.members.get(name, [])
        if len(found) != 1:
            raise ValueError(f"{len(found)} members {name!r} in place of one; pass a zip file written by model.save")
        info = found[0]
        if info.file_size > min(limit, self._ratio * info.compress_size):
            raise ValueError(f"{name!r} would unpack to {info.file_size} bytes, more than any agent needs")
        # Of the other methods a small part may unpack to anything.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} is compressed in a way that SB3 does not use")
        if info.flag_bits & ENCRYPTED:
            raise ValueError(f"{name!r} is encrypted")
        self.budget.take(info.file_size)
        try:
            with self._zip.open(info) as member:
                # Without a size it would unpack all there is, whatever the header says.
                return member.read(info.file_size)
        except Exception as error:
            raise ValueError(f"{name!r} is damaged; save or download the file again") from error


def _grouped(infos: list[zipfile.ZipInfo]) -> dict[str, list[zipfile.ZipInfo]]:
    by_name: dict[str, list[zipfile.ZipInfo]] = {}
    for info in infos:
        by_name.setdefault(info.filename, []).append(info)
    return by_name


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """
    Open a zip file.

    :param path: where it is
    :return: the archive
    :raises ValueError: if there is no complete zip file
    """
    with open_file(path, MAX_FILE) as (file, size):
        yield Archive(file, size)
