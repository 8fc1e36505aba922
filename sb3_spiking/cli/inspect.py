"""Show what is in an agent's file, without executing anything in it.

Works for the zip files of every algorithm of SB3 and for converted networks.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sb3_spiking.cli.console import listing, note, out, table, warn
from sb3_spiking.conversion.files import Converted, is_converted, read_converted
from sb3_spiking.conversion.reading.inspection import Contents, inspect_zip

EXPECTED = ("stable_baselines3", "sb3_contrib", "gym", "gymnasium", "numpy", "torch", "collections", "sb3_spiking")
"""Packages that SB3's own pickles import from."""
MAX_NAMES, MAX_PROBLEMS = 10, 30
"""That are shown, of each pickle and of a file."""
HARMLESS = ("builtins.float", "builtins.int", "builtins.bool", "builtins.set", "builtins.slice")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="any.zip", help="what model.save or convert has written")


def run(args: argparse.Namespace) -> None:
    """
    Inspect.

    :param args: parsed options
    :raises ValueError: if the file is no zip file
    """
    if is_converted(args.path):
        _show_converted(args.path, read_converted(args.path))
    else:
        _show(args.path, inspect_zip(args.path))


def _show(path: Path, contents: Contents) -> None:
    rows = [
        ("algorithm", contents.algorithm or "unknown"),
        ("policy", contents.policy_class or "unknown"),
        *((name.replace("_", " "), text) for name, text in contents.spaces.items()),
        ("policy_kwargs", contents.policy_kwargs),
        ("trained for", "unknown" if contents.timesteps is None else f"{contents.timesteps} steps"),
        ("Stable-Baselines3", contents.sb3_version or "unknown"),
        ("SHA-256", contents.sha256),
    ]
    listing(str(path), rows)
    out.print()
    table(("tensor", "shape"), [(name, _shape(shape)) for name, shape in contents.tensors.items()])
    out.print()
    table(("member", "bytes"), [(name, str(size)) for name, size in contents.members])
    out.print()
    imports = [(where, ", ".join(names) or "nothing") for where, names in contents.pickles.items()]
    listing("what its pickles would import (nothing was)", imports)
    functions = [where for where, names in contents.pickles.items() if any(map(_makes_functions, names))]
    if functions:
        note(f"{', '.join(functions)}: functions, which are code; SB3 itself saves schedules so")
    for where, names in contents.pickles.items():
        foreign = [name for name in names if not _makes_functions(name) and not _is_expected(name)]
        if foreign:
            warn(f"{where} would import {', '.join(foreign[:MAX_NAMES])}{_more(foreign, MAX_NAMES)}")
    for problem in contents.problems[:MAX_PROBLEMS]:
        warn(problem)
    if more := _more(contents.problems, MAX_PROBLEMS):
        warn(f"problems:{more}")


def _more(items: Sequence[str], shown: int) -> str:
    return f" ... and {len(items) - shown} more" if len(items) > shown else ""


def _makes_functions(name: str) -> bool:
    return name.startswith("cloudpickle.")


def _is_expected(name: str) -> bool:
    return name.split(".")[0] in EXPECTED or name in HARMLESS


def _show_converted(path: Path, converted: Converted) -> None:
    network = converted.network
    rows = [
        ("coding", str(network.coding)),
        ("latency", f"{network.latency} steps"),
        ("layers", ", ".join(f"{type(layer).__name__} {_shape(layer.weight.shape)}" for layer in network.layers)),
        ("observation space", str(converted.observation_space)),
        ("actions", str(converted.action_space.n)),
        *((name.replace("_", " "), str(value)) for name, value in converted.origin.items()),
    ]
    listing(str(path), rows)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"
