"""
Firing rates at which products that skip silent inputs take as long as dense ones, on this machine.

    python benchmarks/break_even.py

For each size the table has the measured break-even of the product and of the gradient of the weights, and the firing
rate up to which the library skips silent inputs, from the costs that it has measured. One thread; the two sides of a
comparison alternate.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch as th
from rich.console import Console
from rich.table import Table

from sb3_spiking.snn import SpikingNetwork
from sb3_spiking.snn.execution.costs import are_measured, costs
from sb3_spiking.snn.execution.sparse_products import SpikeList

SIZES = (
    (320, 170, 256),
    (320, 256, 256),
    (1280, 170, 256),
    (1280, 256, 64),
    (1280, 256, 256),
    (1280, 256, 1024),
    (1280, 1024, 1024),
    (5120, 256, 256),
)
"""Rows (observations times time steps), inputs and neurons; PopSAN on HalfCheetah has 170-256-256-60."""
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
ROUNDS = 15


def ratio(a: Callable[[], object], b: Callable[[], object]) -> float:
    """Return the median ratio of the times of two calls that alternate."""
    ratios = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        a()
        middle = time.perf_counter()
        b()
        ratios.append((middle - start) / (time.perf_counter() - middle))
    return float(np.median(ratios[1:]))


def break_even(ratios: list[float]) -> str:
    """Return the firing rate at which a rising ratio passes 1, between the measured rates."""
    if ratios[0] > 1.0:
        return f"< {DENSITIES[0]}"
    if max(ratios) <= 1.0:
        return f"> {DENSITIES[-1]}"
    return f"{np.interp(1.0, np.maximum.accumulate(ratios), DENSITIES):.2f}"


def list_and_multiply(spikes: th.Tensor, weight: th.Tensor, out: th.Tensor) -> None:
    """Multiply spikes and weights, silent inputs skipped."""
    listed = SpikeList.of(spikes)
    assert listed is not None
    listed.products(weight, out)


@th.no_grad()
def measured(rows: int, inputs: int, neurons: int) -> tuple[str, str]:
    """Measure the break-even of the product, and of the gradient of the weights."""
    weight, gradient, out = th.randn(neurons, inputs), th.randn(rows, neurons), th.empty(rows, neurons)
    products, gradients = [], []
    for density in DENSITIES:
        spikes = (th.rand(rows, inputs) < density).float()
        listed = SpikeList.of(spikes)
        assert listed is not None
        dense = partial(th.mm, spikes, weight.t(), out=out)
        products.append(ratio(partial(list_and_multiply, spikes, weight, out), dense))
        gradients.append(ratio(partial(listed.weight_gradient, gradient), partial(th.mm, gradient.t(), spikes)))
    return break_even(products), break_even(gradients)


def main() -> None:
    """Print the table."""
    th.set_num_threads(1)
    SpikingNetwork(1, 1)  # measures the costs, or reads them
    known = costs()
    table = Table("rows", "inputs", "neurons", "product", "gradient", "library", box=None)
    for rows, inputs, neurons in SIZES:
        chosen = f"{known.largest_density(rows, neurons):.2f}"
        table.add_row(*map(str, (rows, inputs, neurons)), *measured(rows, inputs, neurons), chosen)
    console = Console(highlight=False)
    console.print(f"{'measured' if are_measured() else 'default'} costs in ns: {known}", soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
