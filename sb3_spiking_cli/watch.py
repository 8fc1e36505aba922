"""Film a spiking agent beside its spikes.

Takes what convert has written, or a model with a spiking policy that model.save has written. The latter are loaded
with SB3, which runs code in the file: this needs --trust. The environment is taken from --env, else from what was noted
at the conversion, the folder of rl_zoo3 around the file or the file's name.
"""

import argparse
from pathlib import Path

from sb3_spiking_cli import agents, environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    agents.add_path(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="film (default: <name>.mp4 beside it, .gif without ffmpeg)"
    )
    environment.add_arguments(parser)
    parser.add_argument("--seed", type=environment.seed, default=0, help="seed of the episode (default: 0)")
    parser.add_argument(
        "--frames", type=int, default=300, metavar="N", help="maximum number of decisions (default: %(default)s)"
    )
    parser.add_argument("--fps", type=int, metavar="N", help="frames per second (default: the environment's)")
    agents.add_trust(parser)
    parser.add_argument("--force", action="store_true", help="overwrite an existing film")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
