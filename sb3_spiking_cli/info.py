"""Print versions, devices, threads, kernels and policies, for a bug report.

Paste the output as it is; the folder of your user is written as ~.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
