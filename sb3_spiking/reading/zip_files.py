"""Untrusted zip files, with bounds on their members and on the bytes that they unpack to."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.regular_files import open_file

MAX_RATIO = 100
"""Compression ratio of a member; SB3 does not compress."""
MAX_FILE = 2**32
"""Bytes of a file."""
MAX_SMALL, MAX_GROWTH = 2**24, 4
"""Bytes that a file may unpack to, beside so many times its size: torch's nested files are unpacked twice."""
MAX_MEMBERS, MAX_DIRECTORY = 10_000, 2**21
"""Members of a zip file, of which torch's have one for each tensor, and bytes of its directory."""
ENCRYPTED = 1
"""Flag of an encrypted member."""


class _TooLargeError(ValueError):
    """A directory larger than that of any agent's zip file."""


class _Directory(io.BufferedReader):
    """File with bounded reads: the directory is the only large part that zipfile reads while it opens a zip file."""

    most = MAX_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise _TooLargeError(f"its directory has {size} bytes, more than any agent's")
        return super().read(size)


class Archive:
    """
    Untrusted zip file, with one budget for all that is unpacked from it.

    :param file: the zip file
    :param size: number of bytes of the file
    :param budget: bytes that may be unpacked; for a nested zip file, the budget of the outer one
    :param ratio: largest compression ratio of a member
    :raises ValueError: if the zip file is incomplete, or has too many or overlapping members
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
            # A truncated zip file may end with the directory of an embedded .pth, which is a zip file too.
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
        """Names and unpacked sizes of the members, from the directory."""
        return [(info.filename, info.file_size) for info in self._zip.infolist()]

    def sha256(self) -> str:
        """Return the checksum of the whole file."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def read(self, name: str, limit: int) -> bytes:
        """
        Read a member of at most ``limit`` bytes.

        :raises ValueError: if it is missing, there twice, too large, compressed too well or damaged
        """
        found = self.members.get(name, [])
        if len(found) != 1:
            raise ValueError(f"{len(found)} members {name!r} in place of one; pass a zip file written by model.save")
        info = found[0]
        if info.file_size > min(limit, self._ratio * info.compress_size):
            raise ValueError(f"{name!r} would unpack to {info.file_size} bytes, more than any agent needs")
        # Other methods may unpack a few bytes to gigabytes.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name!r} is compressed in a way that SB3 does not use")
        if info.flag_bits & ENCRYPTED:
            raise ValueError(f"{name!r} is encrypted")
        self.budget.take(info.file_size)
        try:
            with self._zip.open(info) as member:
                # Bound the read: the header may lie about the size.
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

    :raises ValueError: if it is missing or incomplete
    """
    with open_file(path, MAX_FILE) as (file, size):
        yield Archive(file, size)
