"""Opening untrusted files: regular ones only, with bounded sizes."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


@contextmanager
def open_file(path: Path, limit: int) -> Iterator[tuple[io.BufferedReader, int]]:
    """
    Open a regular file, or a link to one, and yield it with its size; a pipe or device may block or never end.

    :raises ValueError: if the file is missing, cannot be read, is no regular file or has more than ``limit`` bytes
    """
    try:
        _check_regular(path.stat())  # before it is opened: some devices act upon that
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _check_regular(status)
        if status.st_size > limit:
            raise ValueError(f"it has {status.st_size} bytes, more than any such file needs ({limit})")
        yield file, status.st_size


def read_file(path: Path, limit: int) -> bytes:
    """
    Read a whole file of at most ``limit`` bytes.

    :raises ValueError: as `open_file` does
    """
    with open_file(path, limit) as (file, _):
        content = file.read(limit + 1)  # files of the kernel, as in /proc, have no size
    if len(content) > limit:
        raise ValueError(f"it has more bytes than any such file needs ({limit})")
    return content


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        raise ValueError(f"no such file: it is {kind}")
