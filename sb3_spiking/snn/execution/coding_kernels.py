"""
Kernels for the conversion codings: digit codes and signed rates.

As in ``numba_loops``, a block of neurons goes through all the steps before the next block starts. The equations and
their sources are in ``conversion/codings.py``; the operations and their order are the same.
"""

from collections.abc import Sequence

import numpy as np
import torch as th

from sb3_spiking.snn.execution.acting_kernels import (
    BIAS,
    INPUTS,
    NEURONS,
    TILE,
    WEIGHT,
    currents_of_spikes,
    flat,
    padded,
    products,
)
from sb3_spiking.snn.execution.compilation import jit
from sb3_spiking.snn.execution.lanes import BITS
from sb3_spiking.snn.execution.numba_loops import BLOCK


@jit
def _digits(numbers, values, thresholds, signed, spikes):  # type: ignore[no-untyped-def]
    """Encode numbers ``[M]`` as digits; ``values`` and ``thresholds`` are ``[T]``, ``spikes`` is ``[T, M]``."""
    time_steps, size = spikes.shape
    zero, one = spikes.dtype.type(0.0), spikes.dtype.type(1.0)
    v = np.empty(BLOCK, spikes.dtype)
    may_correct = np.empty(BLOCK, spikes.dtype)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        v[:n] = numbers[start : start + n]
        may_correct[:] = zero
        for t in range(time_steps):
            s = spikes[t, start : start + n]
            # A digit of 1 where the remainder reaches the threshold.
            for j in range(n):
                s[j] = one if v[j] >= thresholds[t] else zero
            # A digit of -1 where it is below minus the threshold, after a digit of 1.
            if signed:
                for j in range(n):
                    s[j] -= may_correct[j] if v[j] < -thresholds[t] else zero
                    may_correct[j] = one if s[j] > zero else may_correct[j]
            # The remainder of the number.
            for j in range(n):
                v[j] -= s[j] * values[t]


@jit
def _rates(drive, initial, hard, signed, spikes):  # type: ignore[no-untyped-def]
    """
    Run integrators; ``drive`` is ``[T, M]``, or one row that is the same at each step, ``spikes`` is ``[T, M]``.

    ``initial`` is ``[M]``. A ``hard`` reset sets membranes to 0. Where spikes are ``signed``, there are some of -1.
    """
    time_steps, size = spikes.shape
    last = len(drive) - 1
    zero, one = spikes.dtype.type(0.0), spikes.dtype.type(1.0)
    v = np.empty(BLOCK, spikes.dtype)
    sent = np.empty(BLOCK, spikes.dtype)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        v[:n] = initial[start : start + n]
        sent[:] = zero
        for t in range(time_steps):
            x, s = drive[min(t, last), start : start + n], spikes[t, start : start + n]
            # Integrate, fire 1 at the threshold or -1 below 0 after more spikes of 1, reset, count.
            if signed:
                for j in range(n):
                    v[j] += x[j]
                    fires = one if v[j] >= one else zero
                    takes_back = one if v[j] < zero and sent[j] > zero else zero
                    s[j] = fires - takes_back
                    v[j] -= s[j]
                    sent[j] += s[j]
            else:
                for j in range(n):
                    v[j] += x[j]
                    s[j] = one if v[j] >= one else zero
                    v[j] -= s[j] * (v[j] if hard else one)


@jit
def decide(  # type: ignore[no-untyped-def]
    features, layers, at_each_step, step_values, thresholds, initial, hard, signed, scale
):
    """
    Run all the layers of a converted network from rest, on features ``[N, K]``; see ``conversion/codings.py``.

    ``layers`` is ``[L, 4]``, of addresses and sizes; ``step_values`` is ``[T]``, the value of a spike at each step.
    Neurons integrate the drive ``at_each_step``, or they are digits with ``thresholds``, ``[T]``. Return the Q-values,
    ``[N, actions]``, and whether the features are finite.
    """
    count, time_steps, actions = len(features), step_values.size, layers[-1, NEURONS]
    q_values = np.empty((count, actions), np.float32)
    for value in features.flat:
        if not np.isfinite(value):
            return q_values, False
    tile = max(1, min(count, TILE // time_steps if at_each_step else TILE))
    widest = layers[0, INPUTS]
    for layer in range(len(layers)):
        widest = max(widest, layers[layer, NEURONS])
    room = tile * widest
    values, first = np.empty(room, np.float32), np.full(room, np.float32(initial), np.float32)
    trains, drive = np.empty(time_steps * room + BITS, np.float32), np.empty(time_steps * room, np.float32)
    # Transposed weights and lists of spikes, for neurons that integrate the spikes of each step.
    listed, spike_starts = np.empty(time_steps * room, np.int32), np.empty(time_steps * tile + 1, np.int64)
    table_starts = np.zeros(len(layers) + 1, np.int64)
    for layer in range(1, len(layers) if at_each_step else 1):
        table_starts[layer + 1] = table_starts[layer] + padded(layers[layer, NEURONS]) * layers[layer, INPUTS]
    tables = np.empty(table_starts.max(), np.float32)
    transposed = np.zeros(len(layers), np.bool_)
    for start in range(0, count, tile):
        size = min(tile, count - start)
        rows = size
        inputs = values
        inputs[: size * layers[0, INPUTS]] = features[start : start + size].reshape(-1)
        for layer in range(len(layers)):
            # Drive: the linear map of numbers, or of the spikes of each step.
            neurons, fan_in = layers[layer, NEURONS], layers[layer, INPUTS]
            weight = flat(layers[layer, WEIGHT], neurons * fan_in)
            if rows > size and not signed:
                table = tables[table_starts[layer] :][: padded(neurons) * fan_in]
                weights, known, share = (weight, neurons, table), transposed[layer], size / count
                transposed[layer] = currents_of_spikes(
                    inputs, rows, fan_in, weights, known, share, listed, spike_starts, drive
                )
            else:
                products(inputs, rows, fan_in, weight, neurons, drive)
            biases = flat(layers[layer, BIAS], neurons)
            for r in range(rows):
                for j in range(neurons):
                    drive[r * neurons + j] += biases[j]
            if layer == len(layers) - 1:
                break
            # Spikes.
            width = size * neurons
            spikes = trains[: time_steps * width].reshape((time_steps, width))
            if at_each_step:
                _rates(drive[: rows * neurons].reshape((rows // size, width)), first[:width], hard, signed, spikes)
            else:
                for k in range(width):
                    drive[k] += first[k]
                _digits(drive[:width], step_values, thresholds, signed, spikes)
            # Their sum over the steps, unless the next neurons integrate each of them.
            if at_each_step and layer < len(layers) - 2:
                inputs, rows = trains, time_steps * size
            else:
                inputs, rows = values, size
                values[:width] = np.float32(0.0)
                for t in range(time_steps):
                    for k in range(width):
                        values[k] += step_values[t] * spikes[t, k]
        for k in range(size * actions):
            q_values[start + k // actions, k % actions] = drive[k] * scale
    return q_values, True


def digits(numbers: th.Tensor, values: Sequence[float], thresholds: Sequence[float], signed: bool) -> th.Tensor:
    """
    Encode numbers as digits, the largest first; not differentiable.

    :param numbers: numbers, ``[N, ...]``, float32 or float64 on the CPU
    :param values: value of the digit of each step, ``T`` numbers
    :param thresholds: smallest remainder with a digit of 1 at each step, ``T`` numbers
    :param signed: whether digits may be -1: below minus the threshold, after a digit of 1
    :return: digits, ``[T, N, ...]``
    """
    spikes = numbers.new_empty((len(values), *numbers.shape))
    flat = numbers.detach().contiguous().numpy().reshape(-1)
    rows = [np.array(row, flat.dtype) for row in (values, thresholds)]
    _digits(flat, *rows, signed, spikes.numpy().reshape(len(values), flat.size))
    return spikes


def signed_rate(drive: th.Tensor, initial: th.Tensor) -> th.Tensor:
    """
    Run integrators with a threshold of 1 that fire -1 below 0, at most as often as 1; not differentiable.

    :param drive: input current, ``[T, N, ...]``, float32 or float64 on the CPU
    :param initial: initial membranes, ``[N, ...]``, of the same type
    :return: spikes, ``[T, N, ...]``
    """
    drive = drive.detach().contiguous()
    spikes = th.empty_like(drive)
    shape = (len(drive), initial.numel())
    membranes = initial.contiguous().numpy().reshape(-1)
    _rates(drive.numpy().reshape(shape), membranes, False, True, spikes.numpy().reshape(shape))
    return spikes
