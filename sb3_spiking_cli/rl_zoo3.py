"""Options of the commands that run rl_zoo3."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that both commands read; the others are forwarded to rl_zoo3."""
    parser.allow_abbrev = False  # an abbreviation may be an option of rl_zoo3
    parser.set_defaults(forwards=True)
    parser.add_argument("--algo", required=True, metavar="NAME", help="algorithm, as rl_zoo3 writes it: ppo, sac, ...")
    parser.add_argument(
        "--env", required=True, metavar="ID", help="gymnasium id, or module:id to import the module first"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet``, last as in the other commands."""
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
