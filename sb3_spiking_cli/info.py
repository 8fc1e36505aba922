"""Print versions, devices, threads, kernels and policies, for a bug report.

Paste the output as it is; the folder of your user is written as ~. With the file of a spiking agent, trained or
converted, print how each of its layers runs on this machine, and why. Nothing in the file is executed.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", type=Path, metavar="FILE", help="a spiking agent: print how its layers run")
    parser.add_argument("--json", action="store_true", help="print JSON")
