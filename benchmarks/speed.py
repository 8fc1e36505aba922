"""
Speed of the spiking policies beside SB3's own and SpikingJelly's nodes.

The tables behind docs/performance.md, all of them or some:

    python benchmarks/speed.py
    python benchmarks/speed.py predict td3-step

``implementations.py`` has the compared implementations and ``suites.py`` the measurements. Each round measures all
implementations in turn; the ratio to the first of them is the median of the ratios within a round, with quartiles, so
that a busy machine slows down both sides of a ratio. One thread; times are processor times. With ``--device cuda`` they
are wall-clock times of a GPU and go to a record of their own.

``--summary`` prints the Markdown tables of the record, ``--figure`` draws how times grow with size.
"""

import argparse
import dataclasses
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import records
import torch as th
from provenance import provenance
from rich.console import Console
from rich.table import Table
from suites import SUITES, Suite
from timing import Rounds, Stopwatch, interleave, statistics

RECORDS = records.DATA / "speed"

console = Console(highlight=False)


REFERENCE = ", reference size"
"""End of the names of measurements of the reference size."""


def costs(rounds: Rounds, work: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """
    Compare the cost of a unit of work with that at the reference size.

    :param rounds: measurements, those of the reference size too
    :param work: how many times the work of the reference size each implementation has
    :return: statistics of the ratios, each taken within a round; 1 where cost grows with the work
    """
    pairs = {name: {name + REFERENCE: rounds[name + REFERENCE], name: rounds[name]} for name in work}
    compared = {name: dataclasses.asdict(statistics(pair)[name]) for name, pair in pairs.items()}
    return {name: {key: one[key] / work[name] for key in ("ratio", "low", "high")} for name, one in compared.items()}


def measure(name: str, suite: Suite, repeats: int, warm_up: int, watch: Stopwatch) -> dict[str, Any]:
    """Measure a suite and return its entry in the record."""
    repeats = min(repeats, suite.most_repeats)
    cases = []
    load = os.getloadavg()[0]
    with console.status(name) as status:
        for case in suite.cases(watch):
            status.update(f"{name}: {case.name}")
            both = {**case.measures, **{each + REFERENCE: one for each, one in case.references.items()}}
            rounds = interleave(both, repeats, warm_up)
            own = {each: figures for each, figures in rounds.items() if each in case.measures}
            summaries = {each: dataclasses.asdict(one) for each, one in statistics(own).items()}
            entry = {"name": case.name, "rounds": rounds, "statistics": summaries}
            cases.append({**entry, "costs": costs(rounds, case.work)} if case.work else entry)
    return {
        "what": suite.quantity,
        "unit": suite.unit,
        "repeats": repeats,
        "seconds_per_measurement": watch.at_least,
        "load_average": load,
        "cases": cases,
    }


def show(name: str, entry: dict[str, Any]) -> None:
    """Print a table to the terminal, a line for each implementation."""
    grid = Table(box=None, pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grown = "costs" in entry["cases"][0]
    for column in (entry["unit"], "ratio", "quartiles", *(["cost", "quartiles"] if grown else [])):
        grid.add_column(column, justify="right")
    for case in entry["cases"]:
        heading = case["name"]
        for implementation, one in case["statistics"].items():
            cells = [_figure(one["median"]), _figure(one["ratio"]), _quartiles(one)]
            if grown:
                cost = case["costs"][implementation]
                cells += [f"{cost['ratio']:.2f}", _cost_quartiles(cost)]
            grid.add_row(heading, implementation, *cells)
            heading = ""
    console.print(f"{name}: {entry['what']}", style="bold", soft_wrap=True)
    console.print(grid, "")


LABELS = {
    "mlp": "`MlpPolicy`",
    "mlp-fused": "`MlpPolicy`, fused Adam",
    "cnn": "`CnnPolicy`",
    "cnn-fused": "`CnnPolicy`, fused Adam",
    "published": "published loop",
    "plain": "SpikingJelly, step by step",
    "plain-compiled": "SpikingJelly, compiled",
    "nodes": "SpikingJelly, multi-step",
    "spiking": "sb3-spiking",
    "spiking-bfloat16": "sb3-spiking, bfloat16",
}
"""Labels of the implementations in tables and figures."""


def summary(record: dict[str, Any]) -> str:
    """Return Markdown tables of a record."""
    measured = {name: record[name] for name in SUITES if name in record}
    lines = [f"Recorded {source}." for source in dict.fromkeys(map(_source, measured.values()))]
    for name, entry in measured.items():
        load = f"{entry['repeats']} rounds under a load of {entry['load_average']:.1f}"
        lines += ["", f"### {SUITES[name].title} {{ #{name} }}", "", f"`{name}`: {entry['what']}. {load}.", ""]
        heading, *rows = _grid(entry)
        lines += records.table(heading, rows)
        if "costs" in entry["cases"][0]:
            heading, *rows = _cost_grid(entry)
            lines += ["", COSTS, "", *records.table(heading, rows)]
    return "\n".join(lines)


def _grid(entry: dict[str, Any]) -> list[list[str]]:
    """Return the cells of a table in its narrower orientation: a row for each case, or for each implementation."""
    grid = [[entry["unit"], *(LABELS.get(name, name) for name in entry["cases"][0]["statistics"])]]
    for case in entry["cases"]:
        first, *others = case["statistics"].values()
        cells = [f"{_figure(one['median'])} ({_figure(one['ratio'])}x: {_quartiles(one)})" for one in others]
        grid.append([case["name"], _figure(first["median"]), *cells])
    return grid if len(grid) >= len(grid[0]) else [list(column) for column in zip(*grid, strict=True)]


COSTS = "Cost of a unit of work, relative to that at batch 256, T = 5 and width 256: 1 where cost grows with the work."


def _cost_grid(entry: dict[str, Any]) -> list[list[str]]:
    """Return the cells of the table of costs."""
    grid = [["cost", *(LABELS.get(name, name) for name in entry["cases"][0]["costs"])]]
    for case in entry["cases"]:
        cells = [f"{one['ratio']:.2f} ({_cost_quartiles(one)})" for one in case["costs"].values()]
        grid.append([case["name"], *cells])
    return grid


PANELS = {
    "time steps": ("growth", r"forward \+ backward, T = (\d+)"),
    "neurons of a layer": ("growth", r"forward \+ backward, width (\d+)"),
    "batch": ("actor", r"forward \+ backward, batch (\d+)"),
}
"""Panels of the figure: label of the horizontal axis -> suite, and pattern of the value in the names of its cases."""

COLOURS = {"mlp": "C0", "nodes": "C1", "spiking": "C2", "spiking-bfloat16": "C3"}
"""Colours of the implementations that the figure shows; a panel has those that its suite measures."""


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the time of a forward and backward pass by size of the network and of the batch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.6), sharey=True, layout="constrained")
    for ax, (size, (suite, pattern)) in zip(axes, PANELS.items(), strict=True):
        cases = {
            int(match[1]): case["statistics"]
            for case in record[suite]["cases"]
            if (match := re.fullmatch(pattern, case["name"]))
        }
        measured = next(iter(cases.values()))
        for name in [name for name in COLOURS if name in measured]:
            times = [statistics[name]["median"] for statistics in cases.values()]
            ax.plot(list(cases), times, marker="o", markersize=3, color=COLOURS[name], label=LABELS[name].strip("`"))
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(list(cases), list(map(str, cases)))
        ax.set_xlabel(size)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("forward + backward [ms]")
    axes[-1].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _figure(value: float) -> str:
    """Format a number with two significant digits, or with all integer digits if there are more."""
    decimals = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def _quartiles(statistics: dict[str, float]) -> str:
    return f"{_figure(statistics['low'])}-{_figure(statistics['high'])}"


def _cost_quartiles(statistics: dict[str, float]) -> str:
    return f"{statistics['low']:.2f}-{statistics['high']:.2f}"


def _source(entry: dict[str, Any]) -> str:
    """Return date, code and machine of an entry."""
    commit, *dirty = entry["commit"].split("-")
    code = f"commit `{'-'.join([commit[:10], *dirty])}`, torch {entry['versions']['torch']}"
    machine = entry["machine"]
    processors = ", ".join([*machine.get("gpus", []), machine["cpu"]])
    return f"on {entry['date'][:10]}: {code}; {processors}, {machine['cores']} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="suite", help="all of them if none is named")
    parser.add_argument("--list", action="store_true", help="print the suites and stop")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=1, help="discarded rounds before (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.02, help="minimum duration of a measurement (default: %(default)s)"
    )
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="computing device (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help=f"the record (default: {RECORDS}/<device>.json)")
    parser.add_argument("--summary", action="store_true", help="print the tables of the record and stop")
    parser.add_argument("--figure", type=Path, help="draw the times of the record by size into this file and stop")
    args = parser.parse_args()
    unknown = [name for name in args.suites if name not in SUITES]
    if unknown:
        parser.error(f"unknown suite {', '.join(unknown)}; choose from {', '.join(SUITES)}")
    supported = [name for name, suite in SUITES.items() if suite.on_gpu or args.device == "cpu"]
    left_out = [name for name in args.suites if name not in supported]
    if left_out:
        parser.error(f"{', '.join(left_out)} cannot be measured on a GPU")
    record = args.json or RECORDS / f"{args.device}.json"
    if args.repeats < 1 or args.warm_up < 0:
        parser.error("--repeats must be 1 or more, --warm-up 0 or more")
    if args.list:
        print("\n".join(f"{name:16}{suite.quantity}, {suite.unit}" for name, suite in SUITES.items()))
        return
    if args.summary:
        print(summary(records.read(record)))
        return
    if args.figure:
        draw(records.read(record), args.figure)
        return
    if args.device == "cuda" and not th.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    th.set_num_threads(1)
    th.manual_seed(0)
    watch = Stopwatch(args.device, args.seconds)
    source = provenance()  # before the record changes, which is part of the working tree
    for name in args.suites or supported:
        entry = {**measure(name, SUITES[name], args.repeats, args.warm_up, watch), **source}
        records.write(record, {**records.read(record), name: entry})
        show(name, entry)


if __name__ == "__main__":
    main()
