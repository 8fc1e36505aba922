"""The commands: they call the library and print. `sb3_spiking_cli` parses their options."""

import argparse
import sys
from importlib import import_module

from gymnasium.error import Error as GymError

from sb3_spiking.cli import console
from sb3_spiking.printable import one_line, printable
from sb3_spiking_cli import main

__all__ = ["main", "run"]

MAX_ERROR = 2000
"""Maximum number of characters of an error."""


def run(args: argparse.Namespace) -> int:
    """
    Run a command.

    :param args: parsed options
    :return: exit code
    """
    console.out.quiet = console.err.quiet = getattr(args, "quiet", False)
    try:
        with console.plain_warnings():
            import_module(f"sb3_spiking.cli.{args.command}").run(args)
    except (ValueError, OSError, ImportError, GymError) as error:
        from sb3_spiking.cli.environment import in_options

        print(f"sb3-spiking {args.command}: error: {one_line(in_options(error), MAX_ERROR)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or "can't allocate memory" in str(error)):  # torch's words
            raise
        print(f"sb3-spiking {args.command}: error: out of memory: {printable(str(error), 200)}", file=sys.stderr)
        return 2
    return 0
