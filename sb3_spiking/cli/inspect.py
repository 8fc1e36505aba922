"""Print the content of an agent's file, without executing anything in it."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sb3_spiking.cli.console import listing, note, out, table, warn
from sb3_spiking.cli.foreign import foreign
from sb3_spiking.conversion.saving import Converted, is_converted, read_converted
from sb3_spiking.printable import printable
from sb3_spiking.reading.inspection import Contents, inspect_zip
from sb3_spiking.reading.spiking_model import SpikingModel, read_spiking_model
from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.description import Stage

EXPECTED = (
    *("stable_baselines3.", "sb3_contrib.", "sb3_spiking.", "gym.spaces.", "gymnasium.spaces.", "gymnasium.utils."),
    *("collections.OrderedDict", "collections.deque", "collections.defaultdict", "torch.nn.", "torch.optim."),
    *("torch.device", "torch.dtype", "numpy.dtype", "numpy.ndarray", "numpy.core.", "numpy._core.", "numpy.random."),
    *("torch._utils._rebuild_", "torch.storage.", "torch.FloatStorage", "torch.DoubleStorage", "torch.HalfStorage"),
    *("torch.BFloat16Storage", "torch.LongStorage", "torch.IntStorage", "torch.ByteStorage", "torch.BoolStorage"),
    *("numpy.bool", "numpy.int", "numpy.uint", "numpy.float"),
)
"""Prefixes of the names that SB3's own pickles import."""
MAX_NAMES, MAX_PROBLEMS, MAX_NAME = 10, 30, 80
"""Limits of the output: names of each pickle, problems of a file, characters of a name."""
HARMLESS = ("builtins.float", "builtins.int", "builtins.bool", "builtins.set", "builtins.slice")


FIRST_ROWS = 10
"""Number of rows of a table without --tensors."""


def run(args: argparse.Namespace) -> None:
    """
    Inspect a file.

    :param args: parsed options
    :raises ValueError: if the file is no zip file
    """
    if is_converted(args.path):
        _show_converted(args.path, read_converted(args.path))
        return
    other = foreign(args.path)
    contents = _contents(args.path, other)
    model, problems = None, list(contents.problems)
    try:
        model = read_spiking_model(args.path, contents)
    except ValueError as error:  # the rest of the file is shown
        problems.append(str(error))
    _show_summary(args.path, contents, model)
    if model is not None:
        _show_network(model)
    _show_pickles(contents)
    _show_table(("tensor", "shape"), [(name, shape_text(shape)) for name, shape in contents.tensors.items()], args)
    _show_table(("member", "bytes"), [(name, str(size)) for name, size in contents.members], args)
    if other is not None:
        warn(printable(f"{args.path} {other}"))
    for problem in problems[:MAX_PROBLEMS]:
        warn(problem)
    if more := _more(problems, MAX_PROBLEMS):
        warn(f"problems:{more}")


def _contents(path: Path, other: str | None) -> Contents:
    """Read a zip file of any kind; describe another file in the error."""
    try:
        return inspect_zip(path)
    except ValueError:
        if other is None:
            raise
    raise ValueError(printable(f"{path} {other}"))


def _show_summary(path: Path, contents: Contents, model: SpikingModel | None) -> None:
    kwargs = contents.policy_kwargs if model is None else None
    rows = [
        ("algorithm", contents.algorithm or "unknown"),
        ("policy", contents.policy_class or "unknown"),
        *((name.replace("_", " "), text) for name, text in contents.spaces.items()),
        *((("policy_kwargs", kwargs),) if kwargs is not None else ()),
        ("trained for", "unknown" if contents.timesteps is None else f"{contents.timesteps} steps"),
        ("Stable-Baselines3", contents.sb3_version or "unknown"),
        ("SHA-256", contents.sha256),
    ]
    listing(str(path), rows)


def _show_network(model: SpikingModel) -> None:
    rows = _option_rows(model.options) if model.options is not None else [("arguments", f"not valid: {model.problem}")]
    unread = {name: f"{value} (not imported)" for name, value in model.foreign.items()}
    rows = [
        *(dict(rows) | unread).items(),
        ("weights", ", ".join(map(shape_text, model.layers)) or "unknown"),
        ("parameters", f"{model.spiking_parameters}, of {model.parameters} without target networks"),
    ]
    if model.others:
        rows.append(("other arguments", _assignments(model.others)))
    out.print()
    listing("spiking network", rows)
    if model.versions:
        out.print()
        listing("saved with", [_pair(line) for line in model.versions])


def _option_rows(options: SpikingOptions) -> list[tuple[str, str]]:
    """Return the arguments of a network as text, without those that have no effect."""
    shown = {name: value for name, value in dataclasses.asdict(options).items() if value is not None}
    constants: dict[str, Any] = {
        "neuron": options.neuron_options(),
        "surrogate": options.surrogate_options(),
        "decoder": options.decoder_options(),
    }
    encoder = [] if options.encoder == "direct" else ["encoder_population", "encoder_std", "mean_range"]
    rows = [("time steps", str(shown["time_steps"]))]
    rows += [(name, _with_constants(shown[name], dataclasses.asdict(chosen))) for name, chosen in constants.items()]
    rows.append(("encoder", _with_constants(options.encoder, {name: shown[name] for name in encoder})))
    others = ("decoder_population", "intra_connections", "conv_arch", "membrane_norm", "precision")
    rows.append(("further", _assignments({name: shown[name] for name in others if name in shown})))
    return rows


def _with_constants(name: str, constants: dict[str, Any]) -> str:
    return f"{name} ({_assignments(constants)})" if constants else name


def _assignments(values: dict[str, Any]) -> str:
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return printable(", ".join(f"{name}={text}" for name, text in shown.items()))


def _pair(line: str) -> tuple[str, str]:
    name, _, text = line.partition(":")
    return name, text.strip()


def _show_pickles(contents: Contents) -> None:
    imports = [(where, _some(names) or "nothing") for where, names in contents.pickles.items()]
    out.print()
    listing("what its pickles would import (nothing was)", imports)
    functions = [where for where, names in contents.pickles.items() if any(map(_makes_functions, names))]
    if functions:
        note(f"{', '.join(functions)}: functions, which are code; SB3 itself saves schedules so")
    for where, names in contents.pickles.items():
        foreign_names = [name for name in names if not _makes_functions(name) and not _is_expected(name)]
        for start in range(0, min(len(foreign_names), MAX_NAMES), 3):  # few at a time: a long line is cut
            warn(f"{where} would import {', '.join(_cut(name) for name in foreign_names[start : start + 3])}")
        if more := _more(foreign_names, MAX_NAMES):
            warn(f"{where} would import{more}")


def _some(names: Sequence[str]) -> str:
    """Join some names, the unexpected ones first."""
    ordered = sorted(names, key=_is_expected)
    return ", ".join(map(_cut, ordered[:MAX_NAMES])) + _more(ordered, MAX_NAMES)


def _cut(name: str) -> str:
    """Shorten a name, to leave room for others."""
    return printable(name, MAX_NAME)


def _more(items: Sequence[str], shown: int) -> str:
    return f" ... and {len(items) - shown} more" if len(items) > shown else ""


def _show_table(columns: tuple[str, str], rows: list[tuple[str, str]], args: argparse.Namespace) -> None:
    out.print()
    table(columns, rows, *((len(rows), "") if args.tensors else (FIRST_ROWS, "; --tensors shows all")))


def _makes_functions(name: str) -> bool:
    return name.startswith("cloudpickle.")


def _is_expected(name: str) -> bool:
    return ":" not in name and (name.startswith(EXPECTED) or name in HARMLESS)


def _show_converted(path: Path, converted: Converted) -> None:
    network = converted.network
    rows = [
        ("coding", str(network.coding)),
        ("latency", f"{network.latency} steps"),
        ("layers", ", ".join(map(_stage_text, network.describe().stages))),
        ("observation space", printable(str(converted.observation_space))),
        ("actions", str(converted.action_space.n)),
        *((name.replace("_", " "), printable(str(value))) for name, value in converted.origin.items()),
    ]
    listing(str(path), rows)


def _stage_text(stage: Stage) -> str:
    return f"{type(stage.linear).__name__} {shape_text(stage.linear.get_parameter('weight').shape)}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as text."""
    return " x ".join(map(str, shape)) or "1"
