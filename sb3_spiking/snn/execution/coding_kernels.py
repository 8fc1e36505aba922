"""
Kernels for the conversion codings: digit codes and signed rates.

As in ``numba_loops``, a block of neurons goes through all the steps before the next block starts. The equations and
their sources are in ``conversion/codings.py``; the operations and their order are the same.
"""

from collections.abc import Sequence

import numpy as np
import torch as th

from sb3_spiking.snn.execution.compilation import jit
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
def _signed_rate(drive, initial, spikes):  # type: ignore[no-untyped-def]
    """Run signed integrators; ``drive`` and ``spikes`` are ``[T, M]``, ``initial`` is ``[M]``."""
    time_steps, size = spikes.shape
    zero, one = spikes.dtype.type(0.0), spikes.dtype.type(1.0)
    v = np.empty(BLOCK, spikes.dtype)
    sent = np.empty(BLOCK, spikes.dtype)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        v[:n] = initial[start : start + n]
        sent[:] = zero
        for t in range(time_steps):
            x, s = drive[t, start : start + n], spikes[t, start : start + n]
            # Integrate, fire 1 at the threshold or -1 below 0 after more spikes of 1, subtract, count.
            for j in range(n):
                v[j] += x[j]
                fires = one if v[j] >= one else zero
                takes_back = one if v[j] < zero and sent[j] > zero else zero
                s[j] = fires - takes_back
                v[j] -= s[j]
                sent[j] += s[j]


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
    _signed_rate(drive.numpy().reshape(shape), initial.contiguous().numpy().reshape(-1), spikes.numpy().reshape(shape))
    return spikes
