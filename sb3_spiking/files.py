"""Writing files so that what was there stays until the new ones are complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """
    Write files under other names, and give them theirs once all of them are complete.

    After an error nothing is left of them, and the files that were there are as they were.

    :param paths: where they shall be
    :return: where to write each of them, in the same folder and with the same suffix
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
    Check that a file can be written, before the work that it is for.

    :param path: where it shall be, in a folder that exists
    :raises ValueError: if it cannot
    """
    partial = _partial(path)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}; choose another place") from error


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial{path.suffix}")
