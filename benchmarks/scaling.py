"""
Scaling of data-parallel training: one model trained by 1, 2 and 4 processes on this machine (weak scaling).

    python benchmarks/scaling.py             # measure
    python benchmarks/scaling.py --summary   # the tables and the picture of docs/scaling.md

Each rank steps HalfCheetah-v5 and makes one gradient step of batch 256 per environment step, with one thread. Times are
wall-clock times, because ranks wait for each other: measure on an idle machine. Rounds alternate between the numbers of
ranks and two independent processes (the slower one counts), the upper bound of two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, Self

import gymnasium as gym
import records
import torch as th
import torch.distributed as dist
from provenance import provenance
from stable_baselines3 import TD3

import sb3_spiking  # noqa: F401 (registers the policies)
from sb3_spiking.distributed import DataParallelCallback

RECORD = records.DATA / "scaling" / "cpu.json"
PICTURE = records.DOCS / "images" / "scaling.png"
RANKS = (1, 2, 4)
APART = "2 apart"
WARM_UP, STEPS = 300, 600
"""Environment steps of each rank."""
SMALL, LARGE = 1, 1_000_000
"""Numbers of elements in the messages for latency and for bandwidth."""
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
"""Predicted networks, bandwidth in bytes per second."""


class Collectives:
    """Context manager that counts collective operations, their bytes, and the time spent in them, waiting included."""

    def __init__(self) -> None:
        self.messages, self.bytes, self.seconds = 0, 0, 0.0
        self._originals = {name: getattr(dist, name) for name in ("all_reduce", "all_gather")}

    def __enter__(self) -> Self:
        for name, function in self._originals.items():
            setattr(dist, name, partial(self._timed, function))
        return self

    def __exit__(self, *exception: object) -> None:
        for name, function in self._originals.items():
            setattr(dist, name, function)

    def _timed(self, function: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        result = function(*args)
        self.seconds += time.perf_counter() - start
        self.messages += 1
        self.bytes += args[-1].numel() * args[-1].element_size()
        return result


def work(apart: bool) -> None:
    """Train as one of the ranks, or independently if ``apart``; rank 0 prints the measurements."""
    th.set_num_threads(1)
    parallel = DataParallelCallback()
    callback, ranks = (None, 1) if apart else (parallel, parallel.world_size)
    model = TD3("PopSANPolicy", gym.make("HalfCheetah-v5"), learning_starts=100, buffer_size=20_000, seed=0)
    model.learn(WARM_UP * ranks, callback)
    latency, transfer = (message_seconds(numbers) for numbers in (SMALL, LARGE))
    with Collectives() as collectives:
        start, processor = time.perf_counter(), time.process_time()
        model.learn(STEPS * ranks, callback, reset_num_timesteps=False)
        elapsed, processor = time.perf_counter() - start, time.process_time() - processor
    slowest = th.tensor([STEPS / elapsed])
    dist.all_reduce(slowest, dist.ReduceOp.MIN)
    if parallel.is_main:
        print(
            json.dumps(
                {
                    "steps_per_second": parallel.world_size * slowest.item(),
                    "seconds_per_step": elapsed / STEPS,
                    "processor_share": processor / elapsed,
                    "communication_share": collectives.seconds / elapsed,
                    "messages_per_step": collectives.messages / STEPS,
                    "bytes_per_step": collectives.bytes / STEPS,
                    "latency": latency,
                    "bandwidth": LARGE * 4 / max(transfer - latency, 1e-9),
                }
            )
        )


def message_seconds(numbers: int, times: int = 20) -> float:
    """Return the duration of an all-reduce of ``numbers`` elements in seconds."""
    message = th.zeros(numbers)
    dist.all_reduce(message)
    start = time.perf_counter()
    for _ in range(times):
        dist.all_reduce(message)
    return (time.perf_counter() - start) / times


def measure(ranks: int, *options: str) -> dict[str, float]:
    """Start the ranks and return the measurements of rank 0."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    run = subprocess.run(
        [*command, __file__, "--work", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def predicted(record: dict[str, Any], bandwidth: float, latency: float) -> dict[int, float]:
    """
    Predict the speed-up of ranks with a core and a link each, relative to one rank.

    A ring all-reduce of P ranks sends each byte ``2 (P - 1) / P`` times, in ``2 (P - 1)`` consecutive messages.

    :param record: record of the measurements
    :param bandwidth: bandwidth of a link, bytes per second
    :param latency: latency of a message, seconds
    :return: speed-up by number of ranks
    """
    alone, two = (typical(record, ranks) for ranks in ("1", "2"))
    speedup = {}
    for ranks in (1, 2, 4, 8, 16, 32, 64):
        messages = two["messages_per_step"] * 2 * (ranks - 1) * latency
        transfer = two["bytes_per_step"] * 2 * (ranks - 1) / ranks / bandwidth
        speedup[ranks] = ranks * alone["seconds_per_step"] / (alone["seconds_per_step"] + messages + transfer)
    return speedup


def typical(record: dict[str, Any], ranks: str) -> dict[str, float]:
    """Return the medians over the rounds of a number of ranks."""
    rounds = record["rounds"][ranks]
    return {name: median(round_[name] for round_ in rounds) for name in rounds[0]}


def summarise(record: dict[str, Any]) -> None:
    """Print the tables and draw the predicted speed-ups."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    heading = ["ranks", "environment steps/s", "against one rank (each round)", "time in messages"]
    rows = []
    for ranks, rounds in record["rounds"].items():
        values = typical(record, ranks)
        speedups = sorted(
            own["steps_per_second"] / one["steps_per_second"]
            for own, one in zip(rounds, record["rounds"]["1"], strict=True)
        )
        cells = [ranks, f"{values['steps_per_second']:.0f}"]
        cells += [f"{median(speedups):.2f} ({speedups[0]:.2f} to {speedups[-1]:.2f})"]
        cells += [f"{100 * values['communication_share']:.0f} %"]
        rows.append([*cells, f"{values['messages_per_step']:.1f}, {values['bytes_per_step'] / 1024:.0f}"])
    print(*records.table([*heading, "messages, KiB per step"], rows), sep="\n")
    two = typical(record, "2")
    small, large = 1e6 * two["latency"], two["bandwidth"] / 1e9
    print(f"\nTwo ranks: {small:.0f} us for a small message, {large:.2f} GB/s for a large one.")
    curves = {f"{name}, 50 us": predicted(record, link, 50e-6) for name, link in LINKS.items()}
    curves["as measured here"] = predicted(record, two["bandwidth"], two["latency"] / 2)
    predictions = [
        [ranks, *(f"{curve[ranks]:.1f}" for curve in curves.values())] for ranks in curves["as measured here"]
    ]
    print("", *records.table(["ranks", *curves], predictions), sep="\n")
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, curve in curves.items():
        ax.plot(list(curve), list(curve.values()), marker="o", markersize=3, label=name)
    ax.plot([1, 64], [1, 64], color="grey", linestyle=":", label="linear")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xticks(list(curve), [str(ranks) for ranks in curve])
    ax.set_yticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    ax.set_xlabel("ranks, each with a core of its own")
    ax.set_ylabel("predicted speed-up")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(PICTURE, dpi=120)


def main() -> None:
    """Measure, or print the tables of the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--summary", action="store_true", help="print the tables of the record and stop")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.apart)
        return
    if not args.summary:
        setups = {str(ranks): partial(measure, ranks) for ranks in RANKS} | {APART: partial(measure, 2, "--apart")}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in setups}
        record = {**provenance(), "load": os.getloadavg()[0], "rounds": rounds}
        for _ in range(args.rounds):
            for name, run in setups.items():
                rounds[name].append(run())
                print(name, rounds[name][-1], file=sys.stderr)
        records.write(RECORD, record, indent=1)
    summarise(records.read(RECORD))


if __name__ == "__main__":
    main()
