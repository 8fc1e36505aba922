"""
How speed is measured: contestants in alternation, ratios within a round.

On the CPU in seconds of the processor: what is measured computes on one thread and waits for nothing, so that on an
idle machine these are the clock's, and on a busy one the clock would count the work of others. On a GPU by the clock,
until the GPU is done.
"""

import gc
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch as th

Measure = Callable[[], float]
"""Takes one measurement."""
Rounds = dict[str, list[float]]
"""Each contestant's figures, round by round."""


@dataclass(frozen=True)
class Statistics:
    """
    What the rounds say of a contestant.

    :param median: of its figures
    :param ratio: median over the rounds of its figure divided by the first contestant's of the same round
    :param low: first quartile of these ratios
    :param high: third quartile
    """

    median: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Stopwatch:
    """
    Takes times.

    :param device: what computes, ``"cpu"`` or ``"cuda"``
    :param at_least: seconds that a measurement lasts; it repeats a call as often as that takes
    """

    device: str = "cpu"
    at_least: float = 0.02

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        th.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, call: Callable[[], object], times: int = 1) -> float:
        """Return the time for calling something so many times."""
        gc.disable()  # a collection would be charged to whoever happens to be running
        try:
            start = self._now()
            for _ in range(times):
                call()
            return self._now() - start
        finally:
            gc.enable()

    def milliseconds_per_call(self, call: Callable[[], object]) -> Measure:
        """
        Measure the time of a call.

        :param call: what to call
        :return: measures milliseconds
        """
        call()
        times = 1
        while self.seconds(call, times) < self.at_least:
            times *= 2
        return lambda: 1e3 * self.seconds(call, times) / times


def printed(command: Sequence[str]) -> Measure:
    """
    Measure in a fresh process.

    :param command: prints the figure
    :return: runs it
    """
    return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def interleave(measures: Mapping[str, Measure], repeats: int, warm_up: int = 0) -> Rounds:
    """
    Measure in rounds, A B C A B C: what slows the machine down for a while slows all of them.

    :param measures: of each contestant
    :param repeats: rounds
    :param warm_up: rounds before, which do not count
    :return: the figures
    """
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(warm_up + repeats)]
    return {name: [figures[name] for figures in rounds[warm_up:]] for name in measures}


def statistics(rounds: Rounds) -> dict[str, Statistics]:
    """
    Sum up each contestant.

    :param rounds: figures, those of the contestant that the others are compared with first
    :return: medians and ratios
    """
    first = np.array(next(iter(rounds.values())))
    summed_up = {}
    for name, figures in rounds.items():
        low, ratio, high = np.quantile(np.array(figures) / first, [0.25, 0.5, 0.75])
        summed_up[name] = Statistics(float(np.median(figures)), float(ratio), float(low), float(high))
    return summed_up
