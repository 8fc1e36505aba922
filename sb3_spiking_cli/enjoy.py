"""Watch an agent that train has trained, with rl_zoo3.

All other options go to rl_zoo3 as they are: --load-best, --deterministic, -n STEPS, --no-render; `python -m
rl_zoo3.enjoy --help` lists them. Loading a model runs what is in its file: files of your own only.
"""

import argparse
from collections.abc import Sequence

from sb3_spiking_cli import rl_zoo3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rl_zoo3.add_arguments(parser)
    # rl_zoo3's own default is the folder of downloaded agents.
    parser.add_argument("-f", "--folder", default="logs", help="folder that train has written (default: %(default)s)")
    rl_zoo3.add_quiet(parser)


def misplaced_file(words: Sequence[str]) -> str | None:
    """
    Return a model's file among the words of ``enjoy``, which takes none.

    :param words: the command and its options
    :return: the file; None without one, or if ``--algo`` is given as well
    """
    if words[:1] != ["enjoy"] or "--algo" in words:
        return None
    return next((word for word in words if word.endswith(".zip")), None)
