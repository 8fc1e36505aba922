"""Measurement of the costs of products, in a tenth of a second."""

import math
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import torch as th

from sb3_spiking.snn.execution.compilation import sources_digest
from sb3_spiking.snn.execution.costs import Costs
from sb3_spiking.snn.execution.rounded_products import multiply_into
from sb3_spiking.snn.execution.sparse_products import SpikeList, panels

ROWS, INPUTS, NEURONS, DENSITY = 1280, 256, 256, 0.1
"""A hidden layer of PopSAN in a gradient step of TD3."""
REPEATS = 9


def machine() -> str:
    """Describe processor, torch, numba and the sources of the kernels."""
    return ", ".join((_processor(), th.__version__, numba.__version__, sources_digest()))


def _processor() -> str:
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
        if told:
            return ", ".join(sorted(set(told)))
    return platform.processor() or platform.machine()


@th.no_grad()
def measure() -> Costs:
    """
    Measure the costs; no random state of the user's changes.

    :raises ValueError: if a cost is impossible, as on a machine that was busy with something else meanwhile
    """
    generator = th.Generator().manual_seed(0)
    draw: Any = {"generator": generator, "dtype": th.float32}
    spikes = (th.rand(ROWS, INPUTS, **draw) < DENSITY).float()
    weight, gradient = th.randn(NEURONS, INPUTS, **draw), th.randn(ROWS, NEURONS, **draw)
    products, silent = th.empty(ROWS, NEURONS, dtype=th.float32), th.zeros(ROWS, INPUTS, dtype=th.float32)
    listed = SpikeList.of(spikes)
    assert listed is not None
    times = _nanoseconds(
        {
            "dense": lambda: th.mm(spikes, weight.t(), out=products),
            "rounded": lambda: multiply_into(products, spikes, weight, th.bfloat16),
            "transposition": lambda: panels(weight.t()),
            "silent": lambda: SpikeList.of(silent),
            "list": lambda: SpikeList.of(spikes),
            "products": lambda: listed.products(weight, products),
            "gradient": lambda: listed.weight_gradient(gradient),
        }
    )
    fired, multiplied = spikes.sum().item(), ROWS * INPUTS * NEURONS
    return Costs(
        dense=times["dense"] / multiplied,
        rounded=times["rounded"] / multiplied,
        spike=(times["products"] - times["transposition"]) / (fired * NEURONS),
        gradient=times["gradient"] / (fired * NEURONS),
        look=times["silent"] / (ROWS * INPUTS),
        entry=max(times["list"] - times["silent"], 1.0) / fired,
        transposition=times["transposition"] / weight.numel(),
    )


def _nanoseconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the shortest of several times of each call, in rounds: others can only delay a call."""
    best = dict.fromkeys(calls, math.inf)
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.perf_counter_ns()
            call()
            best[name] = min(best[name], float(time.perf_counter_ns() - start))
    return best
