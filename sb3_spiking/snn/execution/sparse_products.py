"""
Products of spikes and weights that skip the silent inputs.

Event-driven execution: each spike adds its column of the weights to the current. The gradient of the weights is
computed likewise. With rows r, inputs i, currents ``x`` and their gradient ``g``::

    x[r] = sum of W[:, i] over the inputs i that fired in row r
    dL/dW[:, i] = sum of g[r] over the rows r in which input i fired

Both are sums of selected rows of a table, which is read from the second-level cache. A matrix product computes in
registers, so it is faster where many inputs fire. ``dL/ds = g W`` is dense, and left to torch.
"""

from typing import Any

import numpy as np
import torch as th

from sb3_spiking.snn.execution import lanes
from sb3_spiking.snn.execution.compilation import jit

MAX_DENSITY = 0.15
"""Largest share of firing inputs. With 170 or 256 inputs and 256 neurons the products take as long as torch's at 0.2,
the gradients at 0.16 (one core of a Cascade Lake, 1280 rows)."""

MAX_TABLE = 1_400_000
"""Largest table in bytes: with 1.3 MB it is faster, with 1.5 MB slower (the second-level cache has 1 MB)."""

MIN_ROWS = 512
"""Smallest number of rows: with fewer, transposing the weights takes longer than it saves."""

MIN_SIZE = 64
"""Smallest number of inputs and of neurons: this many are read or added at once."""


class SpikeList:
    """
    List of the inputs that fired, row by row.

    :param inputs: indices of inputs; row r has ``inputs[row_starts[r] : row_starts[r + 1]]``
    :param row_starts: starts of the rows, ``[R + 1]``
    :param size: number of inputs, at least ``MIN_SIZE``
    """

    def __init__(self, inputs: np.ndarray, row_starts: np.ndarray, size: int) -> None:
        self.inputs = inputs
        self.row_starts = row_starts
        self.size = size

    @classmethod
    def of(cls, spikes: th.Tensor, density: float = 1.0) -> "SpikeList | None":
        """
        List the spikes.

        :param spikes: spikes, contiguous, ``[R, inputs]``, at least ``MIN_SIZE`` inputs
        :param density: largest share of firing inputs
        :return: list; None if more inputs fire, or a value is neither 0 nor 1
        """
        rows, size = spikes.shape
        inputs, row_starts = np.empty(int(density * spikes.numel()), np.int32), np.empty(rows + 1, np.int64)
        complete = _list_by_row(_flat(spikes), size, inputs, row_starts)
        return cls(inputs[: row_starts[-1]], row_starts, size) if complete else None

    def products(self, weight: th.Tensor, products: th.Tensor) -> None:
        """
        Write ``spikes @ weight.T``.

        :param weight: weights, ``[neurons, inputs]``, at least ``MIN_SIZE`` neurons
        :param products: memory for the products, ``[R, neurons]``
        """
        _sum_rows(_flat(weight.t().contiguous()), len(weight), self.inputs, self.row_starts, _flat(products))

    def weight_gradient(self, gradient: th.Tensor) -> th.Tensor:
        """
        Return ``gradient.T @ spikes``.

        :param gradient: gradient of the products, ``[R, neurons]``, at least ``MIN_SIZE`` neurons
        :return: gradient of the weights, ``[neurons, inputs]``
        """
        neurons = gradient.shape[1]
        rows, input_starts = np.empty_like(self.inputs), np.zeros(self.size + 1, np.int64)
        _list_by_input(self.inputs, self.row_starts, rows, input_starts)
        sums = gradient.new_empty(self.size, neurons)
        _sum_rows(_flat(gradient.contiguous()), neurons, rows, input_starts, _flat(sums))
        return sums.t()


def few_spikes(inputs: th.Tensor, neurons: int) -> SpikeList | None:
    """
    List the spikes where products that skip the silent inputs are faster than torch's.

    :param inputs: spikes or currents, contiguous, ``[R, inputs]``
    :param neurons: number of neurons
    :return: list; None with few rows, inputs or neurons, with many spikes, and for currents
    """
    rows, size = inputs.shape
    largest_table = max(rows, size) * neurons * inputs.element_size()
    if rows < MIN_ROWS or min(size, neurons) < MIN_SIZE or largest_table > MAX_TABLE:
        return None
    return SpikeList.of(inputs, MAX_DENSITY)


def multiply(a: th.Tensor, b: th.Tensor, dtype: th.dtype | None) -> th.Tensor:
    """
    Return ``a @ b``.

    :param a: first factor, ``[..., K]``
    :param b: second factor, ``[K, columns]``
    :param dtype: type that factors and product are rounded to; None for no rounding
    :return: product, ``[..., columns]``, of the type of ``a``, differentiable
    """
    return a @ b if dtype is None else (a.to(dtype) @ b.to(dtype)).to(a.dtype)


def product_into(
    products: th.Tensor, inputs: th.Tensor, weight: th.Tensor, dtype: th.dtype | None = None
) -> SpikeList | None:
    """
    Write ``inputs @ weight.T``, without a graph.

    :param products: contiguous memory for the products, ``[..., neurons]``
    :param inputs: spikes or currents, ``[..., inputs]``, float32, on the CPU float64 too
    :param weight: weights, ``[neurons, inputs]``
    :param dtype: type that factors and product are rounded to; None for no rounding
    :return: list of the spikes where silent inputs were skipped, else None
    """
    if dtype is not None:
        products.copy_(multiply(inputs.detach(), weight.detach().t(), dtype))
        return None
    rows, weight = inputs.detach().flatten(0, -2).contiguous(), weight.detach()
    # The kernels check nothing, so shapes that do not fit are left to torch, which raises.
    fits = weight.shape[1:] == rows.shape[1:] and weight.dtype == rows.dtype
    spikes = few_spikes(rows, len(weight)) if fits and rows.device.type == "cpu" else None
    if spikes is None:
        th.mm(rows, weight.t(), out=products.flatten(0, -2))
    else:
        spikes.products(weight, products.flatten(0, -2))
    return spikes


def weight_gradient(
    gradient: th.Tensor, inputs: th.Tensor, spikes: SpikeList | None, dtype: th.dtype | None = None
) -> th.Tensor:
    """
    Return the gradient of the weights.

    :param gradient: gradient of the product, ``[..., neurons]``
    :param inputs: spikes or currents, ``[..., inputs]``
    :param spikes: result of ``product_into``
    :param dtype: type that factors and product are rounded to; None for no rounding
    :return: gradient of the weights, ``[neurons, inputs]``
    """
    gradient = gradient.flatten(0, -2)
    if spikes is None:
        return multiply(gradient.t(), inputs.flatten(0, -2), dtype)
    return spikes.weight_gradient(gradient)


class _Product(th.autograd.Function):
    """Differentiable ``product_into``."""

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, weight: th.Tensor, dtype: th.dtype | None) -> th.Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.dtype = dtype
        products = inputs.new_empty((*inputs.shape[:-1], len(weight)))
        product_into(products, inputs, weight, dtype)
        return products

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor, th.Tensor, None]:
        # Products of torch, which are differentiable again.
        inputs, weight = ctx.saved_tensors
        return multiply(gradient, weight, ctx.dtype), weight_gradient(gradient, inputs, None, ctx.dtype), None


def differentiable_product(inputs: th.Tensor, weight: th.Tensor, dtype: th.dtype | None = None) -> th.Tensor:
    """
    Return ``inputs @ weight.T``, rounded as in a fused layer; differentiable any number of times.

    :param inputs: spikes or currents, ``[..., inputs]``
    :param weight: weights, ``[neurons, inputs]``
    :param dtype: type that factors and product are rounded to; None for no rounding
    :return: product, ``[..., neurons]``
    """
    return _Product.apply(inputs, weight, dtype)


@jit
def _list_by_row(spikes, size, inputs, row_starts):  # type: ignore[no-untyped-def]
    """Fill in a ``SpikeList`` of rows of ``size`` inputs; return whether all values are spikes and there was room."""
    n = 0
    row_starts[0] = 0
    for r in range(row_starts.size - 1):
        for start in range(0, size, lanes.BITS):
            # Read 64 inputs as bits. The last 64 overlap with those before, which are shifted out.
            first = min(start, size - lanes.BITS)
            bits = lanes.present(spikes, r * size + first) >> np.uint64(start - first)
            # List the inputs of the set bits.
            while bits != np.uint64(0):
                i = start + lanes.lowest(bits)
                if n == inputs.size or spikes[r * size + i] != 1:
                    return False
                inputs[n] = i
                bits &= bits - np.uint64(1)
                n += 1
        row_starts[r + 1] = n
    return True


@jit
def _list_by_input(inputs, row_starts, rows, input_starts):  # type: ignore[no-untyped-def]
    """List the rows in which input i fired as ``rows[input_starts[i] : input_starts[i + 1]]``; starts are 0 before."""
    # Count the spikes of input i at i + 2, and sum: the start of its list is then at i + 1.
    for n in range(inputs.size):
        if inputs[n] + 2 < input_starts.size:
            input_starts[inputs[n] + 2] += 1
    for i in range(1, input_starts.size):
        input_starts[i] += input_starts[i - 1]
    # Append each row to the lists of its inputs: the starts at i + 1 move to the ends of the lists.
    for r in range(row_starts.size - 1):
        for n in range(row_starts[r], row_starts[r + 1]):
            rows[input_starts[inputs[n] + 1]] = r
            input_starts[inputs[n] + 1] += 1


@jit
def _sum_rows(table, columns, selected, starts, sums):  # type: ignore[no-untyped-def]
    """Sum the rows ``selected[starts[r] : starts[r + 1]]`` of a flat table into row r of ``sums``, flat as well."""
    width = lanes.BYTES // table.itemsize
    for r in range(starts.size - 1):
        for start in range(0, columns, width):
            # One vector of columns. The last one overlaps with those before, and writes the same sums again.
            column = min(start, columns - width)
            total = lanes.zeros(table)
            for n in range(starts[r], starts[r + 1]):
                total = lanes.add(total, lanes.load(table, selected[n] * columns + column))
            lanes.store(total, sums, r * columns + column)


def _flat(tensor: th.Tensor) -> np.ndarray:
    return tensor.numpy().reshape(-1)


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache."""
    spikes = th.eye(MIN_SIZE)
    listed = SpikeList.of(spikes)
    if listed is not None:
        listed.products(spikes, th.empty_like(spikes))
        listed.weight_gradient(spikes)
