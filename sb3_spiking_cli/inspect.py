"""Show what is in an agent's file, without executing anything in it.

Takes the zip files of every algorithm of SB3, and converted networks.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="model.zip", help="agent, as model.save or convert writes it")
    parser.add_argument("--tensors", action="store_true", help="list every tensor with its shape, and every member")
