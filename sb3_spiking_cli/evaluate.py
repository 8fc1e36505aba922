"""Evaluate a spiking agent: print its return, firing rates and operations per decision.

Takes what convert has written, or a model with a spiking policy that model.save has written. The latter are loaded
with SB3, which runs code in the file: this needs --trust. The environment is taken from --env, else from what was noted
at the conversion, the folder of rl_zoo3 around the file or the file's name.
"""

import argparse
from pathlib import Path

from sb3_spiking_cli import agents, environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    agents.add_path(parser)
    environment.add_arguments(parser)
    parser.add_argument(
        "--episodes", type=int, default=20, metavar="N", help="number of episodes (default: %(default)s)"
    )
    parser.add_argument("--seed", type=environment.seed, default=0, help="seed of the first episode (default: 0)")
    parser.add_argument(
        "--epsilon", type=float, default=0.0, metavar="P", help="probability of a random action (default: 0)"
    )
    environment.add_step_limit(parser)
    parser.add_argument("--render", action="store_true", help="show the episodes in a window, one at a time")
    parser.add_argument(
        "--video", type=Path, metavar="FILE", help="film the first episode, as .gif or (with ffmpeg) .mp4"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing film")
    agents.add_trust(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
