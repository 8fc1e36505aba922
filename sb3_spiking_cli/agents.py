"""Options for the file of a spiking agent."""

import argparse
from pathlib import Path


def add_path(parser: argparse.ArgumentParser) -> None:
    """Add the file."""
    parser.add_argument(
        "path", type=Path, metavar="model.zip", help="spiking agent, as convert or model.save writes it"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the options for models of SB3."""
    parser.add_argument(
        "--trust", action="store_true", help="load a model of SB3 with SB3, which runs code in the file"
    )
    parser.add_argument(
        "--algo", metavar="NAME", help="algorithm of a model whose policy class is your own: td3, sac, ppo, ..."
    )
