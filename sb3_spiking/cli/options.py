"""Options that several commands check, and their names in errors of the library."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sb3_spiking.errors import Argument, InputError


def check_evaluation(args: argparse.Namespace, *counts: str) -> None:
    """
    Check the options of an evaluation: the named counts, and ``epsilon``.

    :raises ValueError: if a value is not allowed
    """
    check_counts(args, *counts)
    if not 0.0 <= args.epsilon <= 1.0:
        raise ValueError(f"--epsilon {args.epsilon} must lie in [0, 1]")


def check_counts(args: argparse.Namespace, *counts: str) -> None:
    """
    Check options that are numbers of something.

    :raises ValueError: if one is less than 1
    """
    for option in counts:
        if getattr(args, option) < 1:
            raise ValueError(f"--{option.replace('_', '-')} {getattr(args, option)} must be at least 1")


@contextmanager
def as_options(**options: str) -> Iterator[None]:
    """
    Rename arguments in errors of the library to the options of a command.

    :param options: option of each argument, as ``path="output"``
    :raises InputError: the library's error, with the names of options
    """
    try:
        yield
    except InputError as error:
        parts = (
            replace(part, name=options.get(part.name, part.name)) if isinstance(part, Argument) else part
            for part in error.parts
        )
        raise InputError(*parts) from error
