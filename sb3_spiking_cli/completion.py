"""Completion for shells, written by shtab: an extra, imported when it is asked for."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHELLS = ("bash", "zsh", "fish", "tcsh")


class PrintCompletion(argparse.Action):
    """``--print-completion SHELL``: print what the shell has to source, and leave."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        """
        Print and leave.

        :param parser: the parser of all the commands
        :param namespace: not used
        :param values: the shell
        :param option_string: not used
        """
        try:
            import shtab
        except ImportError:
            parser.error("shell completion needs shtab; pip install shtab")
        for action in _actions(parser):
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, values))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Return the options of all the commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
