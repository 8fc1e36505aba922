"""Show an agent of the command train, with rl_zoo3."""

import argparse

from sb3_spiking.cli import rl_zoo3


def run(args: argparse.Namespace) -> None:
    """
    Run rl_zoo3's enjoy.

    :param args: parsed options; ``args.rest`` are rl_zoo3's
    :raises ValueError: if there is no such agent
    :raises ImportError: if rl_zoo3 is not installed
    """
    enjoy = rl_zoo3.script("enjoy")
    words = ["--algo", args.algo, "--env", rl_zoo3.import_environment(args.env), "--folder", args.folder, *args.rest]
    rl_zoo3.hand_over(enjoy, "enjoy", words, args.quiet)
