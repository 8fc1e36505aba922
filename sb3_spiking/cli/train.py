"""Train a spiking agent with rl_zoo3, by default with hyperparameters that were measured.

All other options go to rl_zoo3 as they are: -f FOLDER (logs), --seed, -n STEPS, --eval-freq, -params, -P (progress
bar); `python -m rl_zoo3.train --help` lists them. Writes FOLDER/ALGO/ENV_1, then ENV_2 and so on.
"""

import argparse

from sb3_spiking.cli import zoo
from sb3_spiking.zoo import FILES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    zoo.add_arguments(parser)
    parser.add_argument(
        "-conf", "--conf-file", metavar="FILE", help="YAML of your own; default: this package's hyperparameters"
    )
    zoo.add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """
    Train.

    :param args: parsed options; ``args.rest`` are rl_zoo3's
    :raises ValueError: if there are no hyperparameters
    :raises ImportError: if rl_zoo3 is not installed
    """
    if args.conf_file is None and args.algo not in FILES:
        raise ValueError(f"--algo {args.algo}: hyperparameters are there for {', '.join(FILES)}; -conf gives your own")
    train = zoo.script("train")
    conf = args.conf_file or _packaged(args.algo, args.env)
    words = ["--algo", args.algo, "--env", args.env, "--conf-file", conf, *args.rest]
    zoo.hand_over(train, "train", args.env, words, args.quiet)


def _packaged(algorithm: str, env: str) -> str:
    """Return the package's file for an algorithm, if it has something for the environment."""
    import yaml  # type: ignore[import-untyped]  # rl_zoo3 brings it

    known = yaml.safe_load(FILES[algorithm].read_text())
    if env not in known:
        raise ValueError(f"--env {env}: {algorithm} has hyperparameters for {', '.join(known)}; -conf gives your own")
    return str(FILES[algorithm])
