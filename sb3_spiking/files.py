"""Atomic writing of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """
    Write files under temporary names, and rename them once all of them are complete.

    After an error none of them is left, and existing files are unchanged.

    :param paths: final paths
    :return: temporary path of each file, in the same folder and with the same suffix
    """
    partials = tuple(map(_partial, paths))
    try:
        yield partials
        for partial, path in zip(partials, paths, strict=True):
            partial.replace(path)
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """
    Check that a file can be written, before its content is computed.

    :param path: path in an existing folder
    :raises ValueError: if it cannot be written
    """
    partial = _partial(path)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}; choose another place") from error


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial{path.suffix}")
