"""Options that name the environment of an agent."""

import argparse
import json
from pathlib import Path
from typing import Any

MAX_SEED = 2**31
MAX_STEPS = 100_000
"""As `sb3_spiking.evaluation.rollout` has it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of a command."""
    group = parser.add_argument_group("environment")
    group.add_argument(
        "--env",
        metavar="ID",
        help="gymnasium id, module:id (a module that is installed or lies in this folder) or minatar-<game>",
    )
    group.add_argument(
        "--env-kwargs",
        metavar="JSON",
        type=_object,
        default={},
        help="keyword arguments of the environment, as '{\"g\": 9.8}'",
    )
    group.add_argument("--atari", action="store_true", help="wrap the environment in SB3's AtariWrapper")
    group.add_argument(
        "--frame-stack", metavar="N", type=int, help="number of stacked observations (default: 4 with --atari, else 1)"
    )
    group.add_argument(
        "--vec-normalize", metavar="FILE", type=Path, help="statistics that VecNormalize.save has written"
    )


def seed(text: str) -> int:
    """Read a seed that environments and NumPy take, and that leaves room for the seeds of further episodes."""
    value = int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else -1
    if not 0 <= value < MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} must be an integer from 0 to {MAX_SEED - 1}")
    return value


def add_step_limit(group: argparse._ActionsContainer) -> None:
    """Add the option that cuts long episodes."""
    group.add_argument(
        "--max-episode-steps",
        type=int,
        default=MAX_STEPS,
        metavar="N",
        help="cut longer episodes (default: %(default)s)",
    )


def _object(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object; write it like '{{\"g\": 9.8}}'")
    return value
