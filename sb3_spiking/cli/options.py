"""Options that several commands check, and errors of the library in the words of the command line."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def check_evaluation(args: argparse.Namespace, *counts: str) -> None:
    """
    Check the options of an evaluation.

    :param args: parsed options, among them ``epsilon``
    :param counts: names of the options that must be at least 1
    :raises ValueError: if a value is not allowed
    """
    for option in counts:
        if getattr(args, option) < 1:
            raise ValueError(f"--{option.replace('_', '-')} {getattr(args, option)} must be at least 1")
    if not 0.0 <= args.epsilon <= 1.0:
        raise ValueError(f"--epsilon {args.epsilon} must lie in [0, 1]")


@contextmanager
def as_options(words: Mapping[str, str]) -> Iterator[None]:
    """
    Name options in errors that name arguments.

    :param words: replacement of each word of an error, as ``{"path=": "--output "}``
    :raises ValueError: the library's error, with other words
    """
    try:
        yield
    except ValueError as error:
        text = str(error)
        for argument, option in words.items():
            text = text.replace(argument, option)
        raise ValueError(text) from error
