"""Let a spiking agent play, and print its return, its firing rates and its operations per decision.

Takes what convert has written, or a model with a spiking policy that model.save has written. The latter are loaded
with SB3, which runs code in the file: this needs --trust. The environment is taken from --env, else from what was noted
at the conversion, the folder of rl_zoo3 around the file or the file's name.
"""

import argparse
from pathlib import Path

from sb3_spiking_cli import environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", type=Path, metavar="model.zip", help="spiking agent, as convert or model.save writes it"
    )
    environment.add_arguments(parser)
    parser.add_argument(
        "--episodes", type=int, default=20, metavar="N", help="number of episodes (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode (default: 0)")
    parser.add_argument(
        "--epsilon", type=float, default=0.0, metavar="P", help="probability of a random action (default: 0)"
    )
    parser.add_argument("--render", action="store_true", help="show the episodes in a window, one at a time")
    parser.add_argument(
        "--video", type=Path, metavar="FILE", help="film the first episode, as .gif or (with ffmpeg) .mp4"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing film")
    add_trust(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")


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
