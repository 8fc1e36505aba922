"""
Timing in alternating rounds, with ratios to a baseline within each round.

On the CPU times are processor time: the measured code runs on one thread and never waits, so that processor time equals
wall-clock time on an idle machine, while on a busy machine wall-clock time would include the work of others. On a GPU
times are wall-clock time with synchronisation.
"""

import gc
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch as th

Measure = Callable[[], float]
"""Function that takes one measurement."""
Rounds = dict[str, list[float]]
"""Measurements of each implementation, one per round."""


@dataclass(frozen=True)
class Statistics:
    """
    Statistics of an implementation over the rounds.

    :param median: median of the measurements
    :param ratio: median of the ratios to the baseline, each taken within a round
    :param low: first quartile of the ratios
    :param high: third quartile of the ratios
    """

    median: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Stopwatch:
    """
    Timer of repeated calls.

    :param device: computing device, ``"cpu"`` or ``"cuda"``
    :param at_least: minimum duration of a measurement in seconds; calls are repeated until then
    """

    device: str = "cpu"
    at_least: float = 0.02

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        th.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, call: Callable[[], object], times: int = 1) -> float:
        """Return the duration of ``times`` calls in seconds."""
        gc.disable()  # a collection would be charged to the running call
        try:
            start = self._now()
            for _ in range(times):
                call()
            return self._now() - start
        finally:
            gc.enable()

    def milliseconds_per_call(self, call: Callable[[], object]) -> Measure:
        """
        Calibrate the number of repetitions of a call.

        :param call: function without arguments
        :return: measurement of the milliseconds per call
        """
        call()
        times = 1
        while self.seconds(call, times) < self.at_least:
            times *= 2
        return lambda: 1e3 * self.seconds(call, times) / times


def printed(command: Sequence[str]) -> Measure:
    """
    Return a measurement that a fresh process prints.

    :param command: command line of the process, whose output is one number
    :return: measurement that runs the process
    """
    return lambda: float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def interleave(measures: Mapping[str, Measure], repeats: int, warm_up: int = 0) -> Rounds:
    """
    Measure in alternating rounds, A B C A B C, so that a temporary slow-down of the machine affects all of them.

    :param measures: measurement of each implementation
    :param repeats: number of rounds
    :param warm_up: number of discarded rounds before
    :return: measurements by implementation
    """
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(warm_up + repeats)]
    return {name: [figures[name] for figures in rounds[warm_up:]] for name in measures}


def statistics(rounds: Rounds) -> dict[str, Statistics]:
    """
    Summarise each implementation.

    :param rounds: measurements, the baseline's first
    :return: medians and ratios by implementation
    """
    first = np.array(next(iter(rounds.values())))
    summaries = {}
    for name, figures in rounds.items():
        low, ratio, high = np.quantile(np.array(figures) / first, [0.25, 0.5, 0.75])
        summaries[name] = Statistics(float(np.median(figures)), float(ratio), float(low), float(high))
    return summaries
