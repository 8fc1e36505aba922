"""Measurement of the costs of products, in a tenth of a second."""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numba
import torch as th

from sb3_spiking.snn.execution.compilation import sources_digest
from sb3_spiking.snn.execution.costs import Costs
from sb3_spiking.snn.execution.sparse_products import SpikeList

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
    """Measure the costs; no random state of the user's changes."""
    generator = th.Generator().manual_seed(0)
    spikes = (th.rand(ROWS, INPUTS, generator=generator) < DENSITY).float()
    weight, gradient = th.randn(NEURONS, INPUTS, generator=generator), th.randn(ROWS, NEURONS, generator=generator)
    products, silent = th.empty(ROWS, NEURONS), th.zeros(ROWS, INPUTS)
    listed = SpikeList.of(spikes)
    assert listed is not None
    additions = spikes.sum().item() * NEURONS
    transposition = _nanoseconds(lambda: weight.t().contiguous())
    return Costs(
        dense=_nanoseconds(lambda: th.mm(spikes, weight.t(), out=products)) / (ROWS * INPUTS * NEURONS),
        spike=(_nanoseconds(lambda: listed.products(weight, products)) - transposition) / additions,
        gradient=_nanoseconds(lambda: listed.weight_gradient(gradient)) / additions,
        look=_nanoseconds(lambda: SpikeList.of(silent)) / (ROWS * INPUTS),
        transposition=transposition / weight.numel(),
    )


def _nanoseconds(call: Callable[[], object]) -> float:
    """Return the shortest of several times: others can only delay a call."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return float(min(times))
