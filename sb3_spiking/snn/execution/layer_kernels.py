"""
Numba kernels of a layer for acting: a product with few rows; normalisation and neurons over all the steps.

They keep nothing for a backward pass. Sums run in another order than torch's, so a membrane within rounding of its
threshold may fall on the other side of it.
"""

from functools import cache, partial
from typing import Any

import numpy as np

from sb3_spiking.snn.execution.compilation import UNORDERED, jit
from sb3_spiking.snn.execution.numba_loops import forward_loop
from sb3_spiking.snn.neurons.equations import Equations


@partial(jit, fastmath=UNORDERED)
def product(inputs, weight, bias, currents):  # type: ignore[no-untyped-def]
    """
    Compute ``currents = inputs @ weight.T + bias``, ``[R, K]`` to ``[R, J]``, two neurons and four rows at a time.

    Where fewer are left, the last neuron or row is computed several times.
    """
    last_row, last_neuron = len(inputs) - 1, len(weight) - 1
    zero = np.float32(0.0)
    for j in range(0, last_neuron + 1, 2):
        k = min(j + 1, last_neuron)
        w0, w1 = weight[j], weight[k]
        for r in range(0, last_row + 1, 4):
            t, u, v = min(r + 1, last_row), min(r + 2, last_row), min(r + 3, last_row)
            s0, s1, s2, s3 = inputs[r], inputs[t], inputs[u], inputs[v]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
            # Sums a and b of the two neurons for the rows 0 to 3.
            for i in range(weight.shape[1]):
                a0 += w0[i] * s0[i]
                a1 += w0[i] * s1[i]
                a2 += w0[i] * s2[i]
                a3 += w0[i] * s3[i]
                b0 += w1[i] * s0[i]
                b1 += w1[i] * s1[i]
                b2 += w1[i] * s2[i]
                b3 += w1[i] * s3[i]
            currents[r, j], currents[t, j], currents[u, j], currents[v, j] = (
                a0 + bias[j],
                a1 + bias[j],
                a2 + bias[j],
                a3 + bias[j],
            )
            currents[r, k], currents[t, k], currents[u, k], currents[v, k] = (
                b0 + bias[k],
                b1 + bias[k],
                b2 + bias[k],
                b3 + bias[k],
            )


@partial(jit, fastmath=UNORDERED)
def _moments(currents):  # type: ignore[no-untyped-def]
    """Compute mean and variance."""
    size = np.float32(currents.size)
    total = squares = np.float32(0.0)
    for i in range(currents.size):
        total += currents[i]
    mean = total / size
    for i in range(currents.size):
        squares += (currents[i] - mean) * (currents[i] - mean)
    return mean, squares / size


@cache
def neurons(equations: Equations) -> Any:
    """Compile the kernel of a neuron; see ``run``."""
    forward = forward_loop(equations)
    kept = equations.kept

    def run(currents, gain, bias, epsilon, steps, spikes, threshold, constants):  # type: ignore[no-untyped-def]
        """
        Normalise currents, in place, and run the neurons from rest over all the steps.

        ``currents`` is ``[steps * N, pixels, channels]``, with one step where they are the same at each; ``gain`` and
        ``bias`` are ``[channels]``, or empty for no normalisation; ``spikes`` is ``[T, N * pixels * channels]``.
        """
        rows, pixels, channels = currents.shape
        if gain.size > 0:
            for r in range(rows):
                mean, variance = _moments(currents[r].reshape(pixels * channels))
                scale = np.float32(1.0) / np.sqrt(variance + epsilon)
                for p in range(pixels):
                    for c in range(channels):
                        currents[r, p, c] = (currents[r, p, c] - mean) * scale * gain[c] + bias[c]
        given = currents.reshape((steps, spikes.shape[1]))
        no_bias, no_trace = np.zeros(1, np.float32), np.empty((kept, 0, 0), np.float32)
        forward(given, no_bias, spikes, no_trace, threshold, constants)

    functions = (equations.charge, equations.margin, equations.reset.forward)
    return jit(run, *functions, equations.variables, kept, equations.reset_variables)
