"""Atomic writing of files: old ones stay until the new ones are complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """
    Write files under temporary names and rename them once all of them are complete.

    After an error the temporary files are removed, and existing files are unchanged.

    :param paths: final paths
    :return: temporary paths, in the same folders and with the same suffixes
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
    Check that a file can be written, before any work starts.

    :param path: path of the file, in an existing folder
    :raises ValueError: if the file cannot be written
    """
    partial = _partial(path)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}; choose another place") from error


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial{path.suffix}")
