"""The options that name a spiking agent's file."""

import argparse
from pathlib import Path


def add_path(parser: argparse.ArgumentParser) -> None:
    """
    Add the file.

    :param parser: the parser of a command
    """
    parser.add_argument(
        "path", type=Path, metavar="model.zip", help="spiking agent, as convert or model.save writes it"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """
    Add the options for models of SB3.

    :param parser: the parser of a command
    """
    parser.add_argument(
        "--trust", action="store_true", help="load a model of SB3 with SB3, which runs code in the file"
    )
    parser.add_argument(
        "--algo", metavar="NAME", help="algorithm of a model whose policy class is your own: td3, sac, ppo, ..."
    )
