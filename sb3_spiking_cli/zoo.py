"""The options that the commands of rl_zoo3 share."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that both commands look at themselves; the others are left for rl_zoo3.

    :param parser: the parser of a command
    """
    parser.allow_abbrev = False  # a short form may be one of rl_zoo3's
    parser.set_defaults(hands_on=True)
    parser.add_argument("--algo", required=True, metavar="NAME", help="algorithm, as rl_zoo3 writes it: ppo, sac, ...")
    parser.add_argument(
        "--env", required=True, metavar="ID", help="gymnasium id, or module:id to import the module first"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """
    Add ``--quiet``, last as in the other commands.

    :param parser: the parser of a command
    """
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
