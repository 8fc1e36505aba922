"""
Speed evidence: spiking policies beside SB3's own and beside SpikingJelly's nodes, in one run.

The tables behind docs/performance.md, all of them or some:

    python benchmarks/speed.py
    python benchmarks/speed.py predict td3-step

``contestants.py`` says who is measured and ``subjects.py`` what. In each round all the contestants are measured one
after the other; the ratio to the first of them is the median over the rounds of the ratio within a round, with its
quartiles, so that a busy machine slows down both sides of it. One thread; times are the processor's. With
``--device cuda`` they are the clock's, of a GPU, and have a record of their own.

``--summary`` prints the Markdown tables of the record, ``--figure`` draws how times grow with size.
"""

import argparse
import dataclasses
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import torch as th
from provenance import provenance
from rich.console import Console
from rich.table import Table
from subjects import SUBJECTS, Subject
from timing import Stopwatch, interleave, statistics

RECORDS = Path("docs/data/speed")

console = Console(highlight=False)


def measure(name: str, subject: Subject, repeats: int, warm_up: int, watch: Stopwatch) -> dict[str, Any]:
    """Measure a subject and return its entry in the record."""
    repeats = min(repeats, subject.most_repeats)
    cases = []
    load = os.getloadavg()[0]
    with console.status(name) as status:
        for case in subject.cases(watch):
            status.update(f"{name}: {case.name}")
            rounds = interleave(case.measures, repeats, warm_up)
            summed_up = {contestant: dataclasses.asdict(one) for contestant, one in statistics(rounds).items()}
            cases.append({"name": case.name, "rounds": rounds, "statistics": summed_up})
    return {
        "what": subject.what,
        "unit": subject.unit,
        "repeats": repeats,
        "seconds_per_measurement": watch.at_least,
        "load_average": load,
        "cases": cases,
    }


def show(name: str, entry: dict[str, Any]) -> None:
    """Print a table to the terminal, a line for each contestant."""
    grid = Table(box=None, pad_edge=False)
    grid.add_column()
    grid.add_column()
    for column in (entry["unit"], "ratio", "quartiles"):
        grid.add_column(column, justify="right")
    for case in entry["cases"]:
        heading = case["name"]
        for contestant, one in case["statistics"].items():
            grid.add_row(heading, contestant, _figure(one["median"]), _figure(one["ratio"]), _quartiles(one))
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
"""What tables and figures call the contestants."""


def summary(record: dict[str, Any]) -> str:
    """Return Markdown tables of a record."""
    measured = {name: record[name] for name in SUBJECTS if name in record}
    lines = [f"Recorded {source}." for source in dict.fromkeys(map(_source, measured.values()))]
    for name, entry in measured.items():
        load = f"{entry['repeats']} rounds under a load of {entry['load_average']:.1f}"
        lines += ["", f"### {SUBJECTS[name].title} {{ #{name} }}", "", f"`{name}`: {entry['what']}. {load}.", ""]
        heading, *rows = _grid(entry)
        lines += [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading), *rows)]
    return "\n".join(lines)


def _grid(entry: dict[str, Any]) -> list[list[str]]:
    """Return the cells of a table, whichever way it is less wide: a row for each case, or for each contestant."""
    grid = [[entry["unit"], *(LABELS.get(name, name) for name in entry["cases"][0]["statistics"])]]
    for case in entry["cases"]:
        first, *others = case["statistics"].values()
        cells = [f"{_figure(one['median'])} ({_figure(one['ratio'])}x: {_quartiles(one)})" for one in others]
        grid.append([case["name"], _figure(first["median"]), *cells])
    return grid if len(grid) >= len(grid[0]) else [list(column) for column in zip(*grid, strict=True)]


PANELS = {
    "time steps": ("growth", r"T = (\d+)"),
    "neurons of a layer": ("growth", r"width (\d+)"),
    "batch": ("actor", r"forward \+ backward, batch (\d+)"),
}
"""What is drawn: on the horizontal axis, from which subject, and where in the names of its cases."""


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw how the time of a gradient grows with the size of what is computed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.6), layout="constrained")
    for ax, (size, (subject, pattern)) in zip(axes, PANELS.items(), strict=True):
        cases = {
            int(match[1]): case["statistics"]
            for case in record[subject]["cases"]
            if (match := re.fullmatch(pattern, case["name"]))
        }
        for contestant in ("mlp", "nodes", "spiking"):
            times = [statistics[contestant]["median"] for statistics in cases.values()]
            ax.plot(list(cases), times, marker="o", markersize=3, label=LABELS[contestant].strip("`"))
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(list(cases), list(map(str, cases)))
        ax.set_xlabel(size)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("forward + backward [ms]")
    axes[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _figure(value: float) -> str:
    """Return two significant digits, or all those before the point."""
    decimals = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def _quartiles(statistics: dict[str, float]) -> str:
    return f"{_figure(statistics['low'])}-{_figure(statistics['high'])}"


def _source(entry: dict[str, Any]) -> str:
    """Return when, from which code and on what an entry was recorded."""
    commit, *dirty = entry["commit"].split("-")
    code = f"commit `{'-'.join([commit[:10], *dirty])}`, torch {entry['versions']['torch']}"
    machine = entry["machine"]
    processors = ", ".join([*machine.get("gpus", []), machine["cpu"]])
    return f"on {entry['date'][:10]}: {code}; {processors}, {machine['cores']} cores"


def read(path: Path) -> dict[str, Any]:
    """Return the entries of a record by subject; none if there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record) + "\n")
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", metavar="subject", help="all of them if none is named")
    parser.add_argument("--list", action="store_true", help="print the subjects and stop")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.02, help="that a measurement lasts at least (default: %(default)s)"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="what computes (default: %(default)s)")
    parser.add_argument("--json", type=Path, help=f"the record (default: {RECORDS}/<device>.json)")
    parser.add_argument("--summary", action="store_true", help="print the tables of the record and stop")
    parser.add_argument("--figure", type=Path, help="draw how times grow into this file, from the record, and stop")
    args = parser.parse_args()
    unknown = [name for name in args.subjects if name not in SUBJECTS]
    if unknown:
        parser.error(f"unknown subject {', '.join(unknown)}; choose from {', '.join(SUBJECTS)}")
    subjects = [name for name, one in SUBJECTS.items() if one.on_gpu or args.device == "cpu"]
    left_out = [name for name in args.subjects if name not in subjects]
    if left_out:
        parser.error(f"{', '.join(left_out)} cannot be measured on a GPU")
    record = args.json or RECORDS / f"{args.device}.json"
    if args.repeats < 1 or args.warm_up < 0:
        parser.error("--repeats must be 1 or more, --warm-up 0 or more")
    if args.list:
        print("\n".join(f"{name:16}{subject.what}, {subject.unit}" for name, subject in SUBJECTS.items()))
        return
    if args.summary:
        print(summary(read(record)))
        return
    if args.figure:
        draw(read(record), args.figure)
        return
    if args.device == "cuda" and not th.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    th.set_num_threads(1)
    th.manual_seed(0)
    watch = Stopwatch(args.device, args.seconds)
    source = provenance()  # before the record changes, which is part of the working tree
    for name in args.subjects or subjects:
        entry = {**measure(name, SUBJECTS[name], args.repeats, args.warm_up, watch), **source}
        write(record, {**read(record), name: entry})
        show(name, entry)


if __name__ == "__main__":
    main()
