"""Watch an agent that train has trained, with rl_zoo3.

All other options go to rl_zoo3 as they are: --load-best, --deterministic, -n STEPS, --no-render; `python -m
rl_zoo3.enjoy --help` lists them. Loading a model runs what is in its file: files of your own only.
"""

import argparse

from sb3_spiking.cli import zoo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    zoo.add_arguments(parser)
    # rl_zoo3's own default is the folder of agents that it downloads.
    parser.add_argument("-f", "--folder", default="logs", help="where train has written (default: %(default)s)")
    zoo.add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """
    Watch.

    :param args: parsed options; ``args.rest`` are rl_zoo3's
    :raises ValueError: if there is no such agent
    :raises ImportError: if rl_zoo3 is not installed
    """
    words = ["--algo", args.algo, "--env", args.env, "--folder", args.folder, *args.rest]
    zoo.hand_over(zoo.script("enjoy"), "enjoy", args.env, words, args.quiet)
