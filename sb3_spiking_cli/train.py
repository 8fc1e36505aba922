"""Train a spiking agent with rl_zoo3, by default with hyperparameters that were measured.

All other options go to rl_zoo3 as they are: -f FOLDER (logs), --seed, -n STEPS, --eval-freq, -params, -P (progress
bar), -optimize (search hyperparameters with Optuna, those of spiking policies too); `python -m rl_zoo3.train --help`
lists them. Writes FOLDER/ALGO/ENV_1, then ENV_2 and so on.
"""

import argparse

from sb3_spiking_cli import rl_zoo3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rl_zoo3.add_arguments(parser)
    parser.add_argument(
        "-conf", "--conf-file", metavar="FILE", help="hyperparameters, a YAML file (default: this package's)"
    )
    rl_zoo3.add_quiet(parser)
