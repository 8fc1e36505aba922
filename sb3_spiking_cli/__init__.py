"""
Parser of the command line; the commands themselves are in `sb3_spiking.cli`, imported once one of them runs.

This is a package of its own that needs the standard library alone: importing any part of `sb3_spiking` imports torch,
which takes seconds, and ``--help``, misspelt options and completion do not need it.

Exit codes: 0, done; 2, invalid input, with an error of one line; 130, interrupted; 143, terminated.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from sb3_spiking_cli import convert, distill, enjoy, evaluate, info, inspect, train, watch
from sb3_spiking_cli.completion import SHELLS, PrintCompletion
from sb3_spiking_cli.process import prepare, settle

COMMANDS = (convert, distill, evaluate, inspect, watch, train, enjoy, info)


def command() -> int:
    """
    Run the command of the process.

    :return: exit code
    """
    prepare()
    try:
        return settle(main())
    except SystemExit:  # raised by argparse, or on a signal
        if settle(0):
            return 2
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :param argv: words of the command; those of the process if None
    :return: exit code
    """
    words = sys.argv[1:] if argv is None else list(argv)
    parser = make_parser()
    if file := enjoy.misplaced_file(words):
        parser.error(f"enjoy takes no file but --algo and --env; evaluate plays {file}, and watch films it")
    args, rest = parser.parse_known_args(words)
    if rest and not getattr(args, "forwards", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    try:
        from sb3_spiking.cli import run

        return run(args)
    except KeyboardInterrupt:
        return 130


class Parser(argparse.ArgumentParser):
    """Parser whose errors hold printable characters only: file names may contain control sequences."""

    def error(self, message: str) -> NoReturn:
        super().error("".join(char if char.isprintable() or char == "\n" else " " for char in message))


class Paragraphs(argparse.HelpFormatter):
    """Formatter that keeps the paragraphs of a description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(super(Paragraphs, self)._fill_text(part, width, indent) for part in text.split("\n\n"))


class PrintVersion(argparse.Action):
    """Action of ``--version``."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version, and exit."""
        from importlib.metadata import version  # imports half of the standard library

        print(f"sb3-spiking {version('sb3-spiking')}")
        parser.exit()


def make_parser() -> Parser:
    """Return the parser of all the commands."""
    parser = Parser(prog="sb3-spiking", description="Spiking reinforcement learning with Stable-Baselines3.")
    parser.add_argument("--version", action=PrintVersion, nargs=0, help="print the version and exit")
    parser.add_argument(
        "--print-completion", action=PrintCompletion, choices=SHELLS, help="print a completion script for a shell"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        summary, _, rest = (module.__doc__ or "").strip().partition("\n")
        added = commands.add_parser(name, help=summary, description=f"{summary}\n{rest}", formatter_class=Paragraphs)
        module.add_arguments(added)
    return parser
