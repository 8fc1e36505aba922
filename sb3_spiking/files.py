"""Atomic writing of files: old ones stay until the new ones are complete."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sb3_spiking.errors import Argument, InputError


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


def output_files(path: str | Path, suffixes: Sequence[str], overwrite: bool = False) -> list[Path]:
    """
    Return files that lie side by side, and check that they can be written, before any work starts.

    :param path: first file
    :param suffixes: suffix of each file, that of the first one among them
    :param overwrite: whether existing files may be replaced
    :return: the files, in the order of the suffixes
    :raises ValueError: if they cannot be written
    """
    target = Path(path)
    if target.suffix != suffixes[0]:
        raise InputError(Argument("path", str(target)), f" must end in {suffixes[0]}")
    outputs = [target.with_suffix(suffix) for suffix in suffixes]
    folders = [str(output) for output in outputs if output.is_dir()]
    if folders:
        raise InputError(f"{folders[0]} is a folder; choose another ", Argument("path"))
    there = [str(output) for output in outputs if output.exists()]
    if there and not overwrite:
        ways_out = (Argument("overwrite", True), " replaces it, another ", Argument("path"), " keeps it")
        raise InputError(f"{there[0]} is there already; ", *ways_out)
    if not target.parent.is_dir():
        raise InputError(
            f"there is no folder {target.parent} to write to; make it, or choose another ", Argument("path")
        )
    for output in outputs:
        check_writable(output)
    return outputs


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
