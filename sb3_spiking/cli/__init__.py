"""
The command line: parses, calls the library, prints.

Exit codes: 0, done; 2, the input is not as it should be, said in one line; 130, interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

from gymnasium.error import Error as GymError

from sb3_spiking.cli import console, convert, enjoy, evaluate, info, inspect, train, watch
from sb3_spiking.cli.completion import SHELLS, PrintCompletion
from sb3_spiking.printable import printable

MAX_ERROR = 2000
"""Characters of an error."""
COMMANDS = (convert, evaluate, inspect, watch, train, enjoy, info)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :param argv: its words; those of the process if None
    :return: the exit code
    """
    parser = make_parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not getattr(args, "hands_on", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    console.out.quiet = console.err.quiet = getattr(args, "quiet", False)
    try:
        with console.plain_warnings():
            args.run(args)
    except (ValueError, OSError, ImportError, GymError) as error:
        print(f"sb3-spiking {args.command}: error: {printable(str(error), MAX_ERROR)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or "can't allocate memory" in str(error)):  # as torch says it
            raise
        print(f"sb3-spiking {args.command}: error: out of memory: {printable(str(error), 200)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all the commands."""
    from sb3_spiking import __version__

    parser = argparse.ArgumentParser(
        prog="sb3-spiking", description="Spiking reinforcement learning with Stable-Baselines3."
    )
    parser.add_argument("--version", action="version", version=f"sb3-spiking {__version__}")
    parser.add_argument("--print-completion", action=PrintCompletion, choices=SHELLS, help="for a shell to source")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        summary, _, rest = (module.__doc__ or "").strip().partition("\n")
        command = commands.add_parser(
            name, help=summary, description=summary + rest, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
