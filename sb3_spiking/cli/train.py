"""Train a spiking agent with rl_zoo3, by default with the hyperparameters of the measured runs."""

import argparse
from importlib.util import find_spec

from sb3_spiking.cli import rl_zoo3
from sb3_spiking.extras import install_hint
from sb3_spiking.zoo import FILES

SEARCH = {"-optimize", "--optimize-hyperparameters"}
"""Options of rl_zoo3 that start a search."""


def run(args: argparse.Namespace) -> None:
    """
    Run rl_zoo3's train.

    :param args: parsed options; ``args.rest`` are rl_zoo3's
    :raises ValueError: if there are no hyperparameters
    :raises ImportError: if rl_zoo3 is not installed
    """
    if args.conf_file is None and args.algo not in FILES:
        raise ValueError(f"--algo {args.algo}: hyperparameters are there for {', '.join(FILES)}; -conf gives your own")
    train = rl_zoo3.script("train")
    if not SEARCH.isdisjoint(args.rest) and find_spec("pandas") is None:  # rl_zoo3 would fail after the last trial
        raise ImportError(f"the report of -optimize needs pandas, which is not installed; {install_hint('zoo')}")
    conf = args.conf_file or _packaged(args.algo, args.env)
    words = ["--algo", args.algo, "--env", rl_zoo3.import_environment(args.env), "--conf-file", conf, *args.rest]
    rl_zoo3.hand_over(train, "train", words, args.quiet)


def _packaged(algorithm: str, env: str) -> str:
    """Return the package's hyperparameters of an algorithm, if there are any for the environment."""
    import yaml  # type: ignore[import-untyped]  # rl_zoo3 brings it

    known = yaml.safe_load(FILES[algorithm].read_text())
    if env not in known:
        raise ValueError(f"--env {env}: {algorithm} has hyperparameters for {', '.join(known)}; -conf gives your own")
    return str(FILES[algorithm])
