"""
Numba kernels for acting: some observations through a whole network, from features to outputs, in one call.

With few rows a decision costs calls, not arithmetic: torch makes some 60 of them. Weights are read from the parameters
themselves, so no copy can be out of date. Sums run in another order than torch's, so a membrane within rounding of its
threshold may fall on the other side of it.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import typing
from numba.extending import intrinsic

from sb3_spiking.snn import current_norm
from sb3_spiking.snn.execution import lanes, tiles
from sb3_spiking.snn.execution.compilation import UNORDERED, jit
from sb3_spiking.snn.execution.numba_loops import _regular_loop, forward_loop
from sb3_spiking.snn.execution.variables import load
from sb3_spiking.snn.neurons.equations import Equations

WEIGHT, BIAS, NEURONS, INPUTS, GAIN, SHIFT = range(6)
"""Columns of a table of layers: addresses of weight and bias, sizes, addresses of the normalisation, 0 without one."""

SPIKE, TRANSPOSED = 1.5, 9.0
"""Time to add a weight because of a spike, and to transpose a weight, in times of one product of a dense block."""

EPSILON = np.float32(current_norm.EPSILON)
"""Number that is added to the variance of currents."""

TILE = 80
"""Largest number of rows (observations times time steps) that go through all the layers together."""

WIDTH = tiles.COLUMNS
"""Number of neurons whose sums are computed together."""


@jit
def observations_of_tile(count, time_steps):  # type: ignore[no-untyped-def]
    """Return the number of observations that go through all the layers together."""
    return max(1, min(count, TILE // time_steps))


@intrinsic
def _pointer(_context: Any, address: Any) -> tuple[typing.Signature, Callable[..., Any]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(address), generate


@jit
def flat(address, size):  # type: ignore[no-untyped-def]
    """Return the float32 numbers at an address as an array."""
    return numba.carray(_pointer(address), size)


@jit
def _normalized(observations, mean, variance, epsilon, resolution, clip):  # type: ignore[no-untyped-def]
    """Normalise observations, ``[N, D]``; see ``policies/normalization.py``. Statistics are ``[D]``."""
    one = np.float32(1.0)
    limit = np.float32(clip)
    scale = np.empty(mean.size, np.float32)
    for d in range(mean.size):
        spread = variance[d] + epsilon[0] + np.float32(resolution) * mean[d] * mean[d]
        scale[d] = one / np.sqrt(spread)
    normalized = np.empty(observations.shape, np.float32)
    for n in range(len(observations)):
        for d in range(mean.size):
            value = (observations[n, d] - mean[d]) * scale[d]
            value = limit if value > limit else value
            normalized[n, d] = -limit if value < -limit else value  # NaN stays NaN
    return normalized


@jit
def _activity(observations, centres, widths, narrowest, whole, activity):  # type: ignore[no-untyped-def]
    """
    Compute receptive fields, ``[N, D]`` to ``[N * D * P]``; ``centres`` and ``widths`` are ``[D, P]``.

    ``whole`` is memory for as many integers as there are activities.
    """
    dimensions, population = centres.shape
    half, lowest = np.float32(-0.5), np.float32(-87.0)
    k = 0
    for n in range(len(observations)):
        for d in range(dimensions):
            for p in range(population):
                distance = (observations[n, d] - centres[d, p]) / max(widths[d, p], np.float32(narrowest))
                activity[k] = max(half * (distance * distance), lowest)
                k += 1
    # Exponentials (Cephes' expf, in vectors): 2^n e^r with a whole n and |r| <= ln(2) / 2.
    power = whole.view(np.float32)
    for k in range(activity.size):
        n = np.floor(activity[k] * np.float32(1.44269504088896341) + np.float32(0.5))
        r = activity[k] - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
        y = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
        y = y * r + np.float32(8.3334519073e-3)
        y = y * r + np.float32(4.1665795894e-2)
        y = y * r + np.float32(1.6666665459e-1)
        y = y * r + np.float32(5.0000001201e-1)
        activity[k] = y * (r * r) + r + np.float32(1.0)
        whole[k] = (np.int32(n) + np.int32(127)) << np.int32(23)
    for k in range(activity.size):
        activity[k] *= power[k]


@jit
def _listed(spikes, rows, size, listed, starts):  # type: ignore[no-untyped-def]
    """List the inputs that fired, row by row; 64 further values behind the spikes may be read."""
    n = 0
    starts[0] = 0
    for r in range(rows):
        for first in range(0, size, lanes.BITS):
            bits = lanes.present(spikes, r * size + first)
            if size - first < lanes.BITS:
                bits &= (np.uint64(1) << np.uint64(size - first)) - np.uint64(1)
            while bits != np.uint64(0):
                listed[n] = first + lanes.lowest(bits)
                bits &= bits - np.uint64(1)
                n += 1
        starts[r + 1] = n
    return n


@jit
def padded(neurons):  # type: ignore[no-untyped-def]
    """Return the number of columns of transposed weights."""
    return (neurons + WIDTH - 1) // WIDTH * WIDTH


@jit
def _transposed(weight, neurons, inputs, table):  # type: ignore[no-untyped-def]
    """Transpose weights, ``[neurons, inputs]``, to ``[blocks, inputs, WIDTH]`` with zeros beyond the last neuron."""
    whole_neurons, whole_inputs = neurons - neurons % tiles.LANES, inputs - inputs % tiles.LANES
    for j in range(0, whole_neurons, tiles.LANES):
        column = j // WIDTH * inputs * WIDTH + j % WIDTH
        for i in range(0, whole_inputs, tiles.LANES):
            tiles.transpose(weight, j * inputs + i, inputs, table, column + i * WIDTH, WIDTH)
    for j in range(padded(neurons)):
        column = j // WIDTH * inputs * WIDTH + j % WIDTH
        for i in range(whole_inputs if j < whole_neurons else 0, inputs):
            table[column + i * WIDTH] = weight[j * inputs + i] if j < neurons else np.float32(0.0)


@jit
def _sums(table, inputs, neurons, listed, starts, rows, current):  # type: ignore[no-untyped-def]
    """Add the weights of those inputs that fired, for each of ``rows``; ``table`` is of ``_transposed``."""
    rest = np.empty(WIDTH, np.float32)
    for j in range(0, neurons, WIDTH):
        column = table[j * inputs :]
        for r in range(rows):
            if j + WIDTH <= neurons:
                tiles.add_rows(column, listed, starts[r], starts[r + 1], current, r * neurons + j)
            else:
                tiles.add_rows(column, listed, starts[r], starts[r + 1], rest, 0)
                for k in range(neurons - j):
                    current[r * neurons + j + k] = rest[k]


@jit
def products(values, rows, inputs, weight, neurons, current):  # type: ignore[no-untyped-def]
    """Compute ``current = values @ weight.T``, ``[rows, inputs]`` to ``[rows, neurons]``; all the arrays are flat."""
    for j in range(0, neurons, tiles.NEURONS):
        for r in range(0, rows, tiles.ROWS):
            tiles.multiply(values, r, rows, weight, j, neurons, inputs, current)


@jit
def currents_of_spikes(  # type: ignore[no-untyped-def]
    spikes, rows, inputs, weights, transposed, share, listed, starts, current
):
    """
    Compute what ``products`` does, for spikes of 0 and 1: they add their weights, where this takes less time.

    ``weights`` are weights, number of neurons, and memory for the transposed weights, which is in use if they are
    ``transposed``; else it is made, for which only a ``share`` of the time counts. ``listed`` and ``starts`` are memory
    for a list of the spikes. Return whether the weights are transposed.
    """
    weight, neurons, table = weights
    dense = rows * inputs * neurons
    laying_out = 0.0 if transposed else TRANSPOSED * table.size * share
    if laying_out < dense:
        fired = _listed(spikes, rows, inputs, listed, starts)
        if laying_out + SPIKE * fired * padded(neurons) < dense:
            if not transposed:
                _transposed(weight, neurons, inputs, table)
            _sums(table, inputs, neurons, listed, starts, rows, current)
            return True
    products(spikes, rows, inputs, weight, neurons, current)
    return transposed


@partial(jit, fastmath=UNORDERED)
def _normalize(currents, rows, bias, gain, epsilon):  # type: ignore[no-untyped-def]
    """Normalise each of the rows of currents over the neurons, up to the shift; see ``current_norm.py``."""
    neurons = bias.size
    size = np.float32(neurons)
    for r in range(rows):
        row = currents[r * neurons : (r + 1) * neurons]
        total = squares = np.float32(0.0)
        for j in range(neurons):
            row[j] += bias[j]
            total += row[j]
        mean = total / size
        for j in range(neurons):
            squares += (row[j] - mean) * (row[j] - mean)
        scale = np.float32(1.0) / np.sqrt(squares / size + epsilon)
        for j in range(neurons):
            row[j] = (row[j] - mean) * scale * gain[j]


@jit
def _decode(  # type: ignore[no-untyped-def]
    spikes, size, step_weights, weight, bias, populations, squashed, sums, decoded
):
    """
    Decode by a linear map of the spikes' weighted sum over the steps, and a tanh if ``squashed``; see ``decoders``.

    ``spikes`` is ``[T * N, F]``, ``step_weights`` ``[T]``, ``weight`` ``[D, P]``; with ``populations`` each output has
    its own ``P`` of the ``F`` neurons, else all of them. ``bias`` counts once per step. ``sums`` is memory for the
    weighted sums, ``[N * F]``, or empty. ``decoded`` is ``[N, D]``.
    """
    outputs, population = weight.shape
    features = spikes.shape[1]
    values = np.empty(features, np.float32)
    for n in range(size):
        # Weighted sum of the spikes over the steps.
        values[:] = np.float32(0.0)
        for t in range(step_weights.size):
            for f in range(features):
                values[f] += step_weights[t] * spikes[t * size + n, f]
        if sums.size > 0:
            sums[n * features : (n + 1) * features] = values
        # Linear map and output activation.
        for d in range(outputs):
            first = d * population if populations else 0
            total = bias[d] * step_weights.sum()
            for p in range(population):
                total += weight[d, p] * values[first + p]
            decoded[n, d] = np.tanh(total) if squashed else total


@cache
def network(equations: Equations, constants: int) -> Any:
    """
    Compile a kernel for consecutive layers of neurons with the same equations; see ``run``.

    :param equations: equations of the neurons
    :param constants: number of their constants
    """
    forward = forward_loop(equations)
    kept, number = equations.kept, max(1, constants)

    def run(  # type: ignore[no-untyped-def]
        inputs,
        mean,
        variance,
        epsilon,
        resolution,
        clip,
        for_each_step,
        centres,
        widths,
        narrowest,
        firing_threshold,
        initial_membrane,
        layers,
        numbers,
        step_weights,
        weight,
        bias,
        populations,
        squashed,
        memory,
    ):
        """
        Decide, or run the layers alone.

        ``inputs`` is ``[N, D]``, or ``[T * N, K]`` if it is given ``for_each_step``. It is normalised if there is a
        ``mean``; encoded if there are receptive fields (``centres``), by regular spikes from an ``initial_membrane`` if
        these have a threshold.
        ``layers`` is ``[L, 6]``, of addresses and sizes; ``numbers`` is ``[1 + C, L]``, the threshold and the constants
        of each layer. The following are those of a linear decoder: ``weight`` is empty where there is none. ``memory``
        is ``kept.Kept``.

        Return what is decoded, ``[N, D]``, or the last spikes, ``[T * N, J]``; and whether all the features are finite.
        """
        time_steps, finite = step_weights.size, True
        count = len(inputs) // time_steps if for_each_step else len(inputs)
        if mean.size > 0:
            inputs = _normalized(inputs, mean, variance, epsilon, resolution, clip)
        if not for_each_step:
            for value in inputs.flat:
                finite &= np.isfinite(value)
            if not finite:
                return inputs, False
        encoded = centres.size > 0
        regular = encoded and firing_threshold > 0
        # Memory for one tile: values or spikes before and behind a layer, with room, since 64 are read at once.
        tile = observations_of_tile(count, time_steps)
        widest, room_of_tables = layers[0, INPUTS], 0
        for layer in range(len(layers)):
            widest = max(widest, layers[layer, NEURONS])
            room_of_tables += padded(layers[layer, NEURONS]) * layers[layer, INPUTS]
        room = time_steps * tile * widest
        even, odd = np.empty(room + lanes.BITS, np.float32), np.empty(room + lanes.BITS, np.float32)
        currents = np.empty(room, np.float32)
        whole = np.empty(tile * centres.size, np.int32)
        listed, starts = np.empty(room, np.int32), np.empty(time_steps * tile + 1, np.int64)
        # Transposed weights of the layers, written where many spikes add them.
        transposed = np.zeros(len(layers), np.bool_)
        tables = np.empty(room_of_tables if time_steps * count > TRANSPOSED else 0, np.float32)
        no_trace = np.empty((kept, 0, 0), np.float32)
        thresholds, constants = numbers[0], numbers[1:]
        features, keep = layers[-1, NEURONS], memory.traces.size > 0
        only_spikes = weight.size == 0
        shape = (time_steps * count, features) if only_spikes else (count, len(weight))
        outputs = np.empty(shape, np.float32)
        for first in range(0, count, tile):
            size = min(tile, count - first)
            steps = time_steps * size
            # Inputs of the first layer.
            fan_in = layers[0, INPUTS]
            rows = steps if for_each_step or regular else size
            kept_from = (rows // size) * first * fan_in
            before = memory.inputs[kept_from:] if keep else even
            if for_each_step:
                for t in range(time_steps):
                    start = t * count + first
                    before[t * size * fan_in : (t + 1) * size * fan_in] = inputs[start : start + size].reshape(-1)
            elif encoded:
                activity = memory.activity[first * fan_in :] if keep else currents
                activity = activity[: size * fan_in] if regular or keep else before[: size * fan_in]
                _activity(inputs[first : first + size], centres, widths, narrowest, whole[: size * fan_in], activity)
                if regular:
                    trains = before[: steps * fan_in].reshape((time_steps, size * fan_in))
                    _regular_loop(activity, trains, firing_threshold, initial_membrane)
                elif keep:
                    before[: size * fan_in] = activity
            else:
                before[: size * fan_in] = inputs[first : first + size].reshape(-1)
            are_spikes = regular
            table_start, trace_start, inputs_start = 0, 0, (rows // size) * count * fan_in
            for layer in range(len(layers)):
                neurons, fan_in = layers[layer, NEURONS], layers[layer, INPUTS]
                synapses = flat(layers[layer, WEIGHT], neurons * fan_in)
                biases = flat(layers[layer, BIAS], neurons)
                table = tables[table_start : table_start + padded(neurons) * fan_in]
                table_start += padded(neurons) * fan_in
                if are_spikes and tables.size > 0:
                    share, known = size / count, transposed[layer]
                    weights = (synapses, neurons, table)
                    transposed[layer] = currents_of_spikes(
                        before, rows, fan_in, weights, known, share, listed, starts, currents
                    )
                else:
                    products(before, rows, fan_in, synapses, neurons, currents)
                if layers[layer, GAIN] != 0:
                    _normalize(currents, rows, biases, flat(layers[layer, GAIN], neurons), EPSILON)
                    biases = flat(layers[layer, SHIFT], neurons)
                # Neurons over all the steps; their spikes are the inputs of the next layer.
                current = currents[: rows * neurons].reshape((rows // size, size * neurons))
                start, end = time_steps * first * neurons, time_steps * (first + size) * neurons
                trace, behind = no_trace, even if layer % 2 else odd
                if keep:
                    own_trace = memory.traces[trace_start + kept * start : trace_start + kept * end]
                    trace = own_trace.reshape((kept, time_steps, size * neurons))
                    trace_start += kept * time_steps * count * neurons
                    if layer < len(layers) - 1:
                        behind = memory.inputs[inputs_start + start :]
                        inputs_start += time_steps * count * neurons
                spikes = behind[: steps * neurons].reshape((time_steps, size * neurons))
                own = load(constants, layer, number, number)
                forward(current, biases, spikes, trace, thresholds[layer], own)
                before, rows, are_spikes = behind, steps, True
            last = before[: steps * features].reshape((steps, features))
            if only_spikes:
                for t in range(time_steps):
                    outputs[t * count + first : t * count + first + size] = last[t * size : (t + 1) * size]
            else:
                decoded = outputs[first : first + size]
                sums = memory.sums[first * features :][: size * features]
                _decode(last, size, step_weights, weight, bias, populations, squashed, sums, decoded)
        return outputs, finite

    functions = (equations.charge, equations.margin, equations.reset.forward)
    return jit(run, *functions, equations.variables, kept, equations.reset_variables, number)
