"""Watch an agent that train has trained, with rl_zoo3."""

import argparse

from sb3_spiking.cli import zoo


def run(args: argparse.Namespace) -> None:
    """
    Watch.

    :param args: parsed options; ``args.rest`` are rl_zoo3's
    :raises ValueError: if there is no such agent
    :raises ImportError: if rl_zoo3 is not installed
    """
    enjoy = zoo.script("enjoy")
    words = ["--algo", args.algo, "--env", zoo.import_environment(args.env), "--folder", args.folder, *args.rest]
    zoo.hand_over(enjoy, "enjoy", words, args.quiet)
