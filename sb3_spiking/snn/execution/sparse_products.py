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

from sb3_spiking.snn.execution import lanes, rounded_products
from sb3_spiking.snn.execution.compilation import jit
from sb3_spiking.snn.execution.costs import costs
from sb3_spiking.snn.execution.rounded_products import multiply, multiply_into

MIN_SIZE = 64
"""Smallest number of inputs and of neurons: this many are read or added at once."""

SAMPLED = 16
"""Distance of the rows whose spikes are counted before all are listed."""

PANEL_COLUMNS = 512
"""Largest number of columns of a table that is not laid out in panels before it is summed once."""

PANEL_BYTES = 512 * 1024
"""Size of the part of a table that sums are taken from, and that is to stay in the second-level cache."""


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

    @property
    def density(self) -> float:
        """Share of firing inputs."""
        return len(self.inputs) / max(1, self.size * (len(self.row_starts) - 1))

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
        starts = self.row_starts[None]
        _sum_rows(_flat(panels(weight.t())), len(weight), True, self.inputs, starts, _flat(products))

    def weight_gradient(self, gradient: th.Tensor) -> th.Tensor:
        """
        Return ``gradient.T @ spikes``.

        :param gradient: gradient of the products, ``[R, neurons]``, at least ``MIN_SIZE`` neurons
        :return: gradient of the weights, ``[neurons, inputs]``
        """
        neurons = gradient.shape[1]
        # The rows of a tile are the part of the table that one pass over the inputs reads.
        tile = PANEL_BYTES // lanes.BYTES
        starts = np.zeros((max(1, -(-len(gradient) // tile)), self.size + 1), np.int64)
        rows = np.empty_like(self.inputs)
        _list_by_input(self.inputs, self.row_starts, tile, rows, starts)
        wide = neurons > PANEL_COLUMNS
        table = panels(gradient) if wide else gradient.contiguous()
        sums = gradient.new_empty(self.size, neurons)
        _sum_rows(_flat(table), neurons, wide, rows, starts, _flat(sums))
        return sums.t()


def panels(table: th.Tensor) -> th.Tensor:
    """
    Return the columns of a table in panels, each of them as wide as a vector and contiguous.

    :param table: table, ``[rows, columns]``, at least ``MIN_SIZE`` columns
    :return: panels, ``[panels, rows, width]``; the last one overlaps with the one before
    """
    rows, columns = table.shape
    width = lanes.BYTES // table.element_size()
    whole = columns // width
    panels = table.new_empty(-(-columns // width), rows, width)
    panels[:whole].copy_(table[:, : whole * width].unflatten(1, (whole, width)).transpose(0, 1))
    panels[-1].copy_(table[:, -width:])
    return panels


def few_spikes(inputs: th.Tensor, neurons: int, dtype: th.dtype | None = None) -> SpikeList | None:
    """
    List the spikes where products that skip the silent inputs are faster than torch's.

    :param inputs: spikes or currents, contiguous, ``[R, inputs]``
    :param neurons: number of neurons
    :param dtype: type that factors are rounded to; None for no rounding
    :return: list; None with few rows, inputs or neurons, with many inputs or spikes, and for currents
    """
    rows, size = inputs.shape
    if rows == 0 or min(size, neurons) < MIN_SIZE or size * lanes.BYTES > 2 * PANEL_BYTES:
        return None
    density = costs().largest_density(rows, neurons, rounded=dtype is not None)
    return SpikeList.of(inputs, density) if density > 0.0 else None


def product_into(
    products: th.Tensor, inputs: th.Tensor, weight: th.Tensor, dtype: th.dtype | None = None
) -> SpikeList | None:
    """
    Write ``inputs @ weight.T``, without a graph.

    :param products: contiguous memory for the products, ``[..., neurons]``
    :param inputs: spikes or currents, ``[..., inputs]``, float32, on the CPU float64 too
    :param weight: weights, ``[neurons, inputs]``
    :param dtype: type that factors are rounded to; None for no rounding
    :return: list of the spikes where silent inputs were skipped, else None
    """
    rows, weight, flat = inputs.detach().flatten(0, -2).contiguous(), weight.detach(), products.flatten(0, -2)
    # The kernels check nothing, so shapes that do not fit are left to torch, which raises.
    fits = weight.shape[1:] == rows.shape[1:] and weight.dtype == rows.dtype
    spikes = few_spikes(rows, len(weight), dtype) if fits and rows.device.type == "cpu" else None
    if spikes is not None:
        spikes.products(weight if dtype is None else rounded_products.rounded(weight, dtype), flat)
    elif dtype is None:
        th.mm(rows, weight.t(), out=flat)
    else:
        multiply_into(flat, rows, weight, dtype)
    return spikes


def weight_gradient(
    gradient: th.Tensor, inputs: th.Tensor, spikes: SpikeList | None, dtype: th.dtype | None = None
) -> th.Tensor:
    """
    Return the gradient of the weights.

    :param gradient: gradient of the product, ``[..., neurons]``
    :param inputs: spikes or currents, ``[..., inputs]``
    :param spikes: result of ``product_into``
    :param dtype: type that factors are rounded to; None for no rounding
    :return: gradient of the weights, ``[neurons, inputs]``
    """
    gradient = gradient.flatten(0, -2)
    if spikes is None or spikes.density > costs().largest_gradient_density(rounded=dtype is not None):
        return multiply(gradient.t(), inputs.flatten(0, -2), dtype)
    return spikes.weight_gradient(gradient)


def gradient_of_weight(gradient: th.Tensor, inputs: th.Tensor, dtype: th.dtype | None = None) -> th.Tensor:
    """
    Return the gradient of the weights, of a product that listed no spikes.

    :param gradient: gradient of the product, ``[R, neurons]``
    :param inputs: spikes or currents, contiguous, ``[R, inputs]``
    :param dtype: type that factors are rounded to; None for no rounding
    :return: gradient of the weights, ``[neurons, inputs]``
    """
    neurons, spikes = gradient.shape[1], None
    if len(inputs) > 0 and min(inputs.shape[1], neurons) >= MIN_SIZE:
        density = costs().largest_gradient_density(rounded=dtype is not None)
        spikes = SpikeList.of(inputs, density) if density > 0.0 else None
    return weight_gradient(gradient, inputs, spikes, dtype)


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
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, th.Tensor | None, None]:
        # Products of torch, which are differentiable again.
        inputs, weight = ctx.saved_tensors
        return (
            multiply(gradient, weight, ctx.dtype) if ctx.needs_input_grad[0] else None,
            weight_gradient(gradient, inputs, None, ctx.dtype) if ctx.needs_input_grad[1] else None,
            None,
        )


def differentiable_product(inputs: th.Tensor, weight: th.Tensor, dtype: th.dtype | None = None) -> th.Tensor:
    """
    Return ``inputs @ weight.T``, rounded as in a fused layer; differentiable any number of times.

    :param inputs: spikes or currents, ``[..., inputs]``
    :param weight: weights, ``[neurons, inputs]``
    :param dtype: type that factors are rounded to; None for no rounding
    :return: product, ``[..., neurons]``
    """
    return _Product.apply(inputs, weight, dtype)


@jit
def _list_by_row(spikes, size, inputs, row_starts):  # type: ignore[no-untyped-def]
    """Fill in a ``SpikeList`` of rows of ``size`` inputs; return whether all values are spikes and there was room."""
    rows = row_starts.size - 1
    # Count the inputs of each sixteenth row, so that many spikes are not listed in vain.
    fired, counted = 0, 0
    for r in range(0, rows, SAMPLED):
        counted += size
        for start in range(0, size, lanes.BITS):
            first = min(start, size - lanes.BITS)
            bits = lanes.present(spikes, r * size + first) >> np.uint64(start - first)
            fired += lanes.count(bits)
    if fired > 1.25 * counted * (inputs.size / (rows * size)):
        return False
    n = 0
    row_starts[0] = 0
    for r in range(rows):
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
def _list_by_input(inputs, row_starts, tile, rows, starts):  # type: ignore[no-untyped-def]
    """
    List the rows in which an input fired, for each tile of ``tile`` rows: those of tile k and input i are
    ``rows[starts[k, i] : starts[k, i + 1]]``; starts are 0 before.
    """
    size = starts.shape[1] - 1
    for k in range(starts.shape[0]):
        first, last = k * tile, min((k + 1) * tile, row_starts.size - 1)
        # Count the spikes of input i at i + 2, and sum: the start of its list is then at i + 1.
        own = starts[k]
        for n in range(row_starts[first], row_starts[last]):
            if inputs[n] + 2 <= size:
                own[inputs[n] + 2] += 1
        own[0] = own[1] = row_starts[first]
        for i in range(2, size + 1):
            own[i] += own[i - 1]
        # Append each row to the lists of its inputs: the starts at i + 1 move to the ends of the lists.
        for r in range(first, last):
            for n in range(row_starts[r], row_starts[r + 1]):
                rows[own[inputs[n] + 1]] = r
                own[inputs[n] + 1] += 1


@jit
def _sum_rows(table, columns, in_panels, selected, starts, sums):  # type: ignore[no-untyped-def]
    """
    Sum rows of a flat table into the rows of ``sums``, flat as well: into row r ``selected[starts[k, r] : starts[k, r +
    1]]`` of each tile k. The table lies in rows, or, if ``in_panels``, in panels of columns.
    """
    width = lanes.BYTES // table.itemsize
    rows = table.size // (-(-columns // width) * width) if in_panels else table.size // columns
    stride = width if in_panels else columns
    for start in range(0, columns, width):
        # One vector of columns. The last one overlaps with those before, and writes the same sums again.
        column = min(start, columns - width)
        base = start * rows if in_panels else column
        for k in range(starts.shape[0]):
            for r in range(starts.shape[1] - 1):
                total = lanes.load(sums, r * columns + column) if k > 0 else lanes.zeros(table)
                for n in range(starts[k, r], starts[k, r + 1]):
                    total = lanes.add(total, lanes.load(table, base + selected[n] * stride))
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
