"""
The acting kernels: a few observations through a whole network, from features to outputs.

With few rows a decision costs calls rather than arithmetic: torch needs some 60 of them, these kernels three. Weights
are read where the parameters lie, row by row, so there is no copy that could be out of date. Sums run in another order
than torch's, so a membrane within rounding of its threshold may fall on the other side of it.

numba's cache on disk knows this file alone: after a change of ``training.forward``, ``make clean-kernels``.
"""

from functools import partial

import numpy as np

from sb3_spiking.snn.kernels.compilation import UNORDERED, jit
from sb3_spiking.snn.kernels.training import forward


@jit
def encode(observations, mean, std, min_std, threshold, time_steps):  # type: ignore[no-untyped-def]
    """
    Receptive fields and their regular spikes; see ``encoders``.

    ``observations`` is ``[N, D]``, ``mean`` and ``std`` are ``[D, P]``. Returns the spikes, ``[T * N, D * P]``, and
    whether all the observations are finite.
    """
    size = len(observations)
    dimensions, population = mean.shape
    spikes = np.empty((time_steps * size, dimensions * population), np.float32)
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(-0.5)
    theta, narrowest = np.float32(threshold), np.float32(min_std)
    for n in range(size):
        for d in range(dimensions):
            observation = observations[n, d]
            if not np.isfinite(observation):
                return spikes, False
            for p in range(population):
                distance = (observation - mean[d, p]) / max(std[d, p], narrowest)
                activity = np.exp(half * (distance * distance))
                v = zero
                for t in range(time_steps):
                    v = v + activity
                    fires = v - theta >= zero
                    spikes[t * size + n, d * population + p] = one if fires else zero
                    v = v - theta if fires else v
    return spikes, True


@partial(jit, fastmath=UNORDERED)
def _currents(inputs, weight, current):  # type: ignore[no-untyped-def]
    """``current = inputs @ weight.T``, ``[R, K]`` to ``[R, J]``: two neurons and four rows at a time."""
    rows, _ = inputs.shape
    neurons, fan_in = weight.shape
    zero = np.float32(0.0)
    for j in range(0, neurons, 2):
        k = min(j + 1, neurons - 1)  # the last of an odd number is done twice
        w, u = weight[j], weight[k]
        r = 0
        while r + 4 <= rows:
            s0, s1, s2, s3 = inputs[r], inputs[r + 1], inputs[r + 2], inputs[r + 3]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zero
            for i in range(fan_in):
                a0 += w[i] * s0[i]
                a1 += w[i] * s1[i]
                a2 += w[i] * s2[i]
                a3 += w[i] * s3[i]
                b0 += u[i] * s0[i]
                b1 += u[i] * s1[i]
                b2 += u[i] * s2[i]
                b3 += u[i] * s3[i]
            current[r, j], current[r + 1, j], current[r + 2, j], current[r + 3, j] = a0, a1, a2, a3
            current[r, k], current[r + 1, k], current[r + 2, k], current[r + 3, k] = b0, b1, b2, b3
            r += 4
        while r < rows:
            s = inputs[r]
            a = b = zero
            for i in range(fan_in):
                a += w[i] * s[i]
                b += u[i] * s[i]
            current[r, j], current[r, k] = a, b
            r += 1


@jit
def layers(inputs, size, time_steps, weights, biases, dynamics):  # type: ignore[no-untyped-def]
    """
    Layer after layer over all the time steps.

    ``inputs`` is ``[T * N, K]``, or ``[N, K]`` where it is the same at each step; ``weights`` and ``biases`` are tuples
    of ``[J, K]`` and ``[J]``, ``dynamics`` has a row for each layer: charge, constants, threshold, soft reset. Returns
    the last spikes, ``[T * N, J]``.
    """
    no_membrane = np.empty((0, 0), np.float32)
    for layer in range(len(weights)):
        neurons = weights[layer].shape[0]
        current = np.empty((time_steps, size * neurons), np.float32)
        if len(inputs) == time_steps * size:
            _currents(inputs, weights[layer], current.reshape((time_steps * size, neurons)))
        else:
            current = current[:1]
            _currents(inputs, weights[layer], current.reshape((size, neurons)))
        spikes = np.empty((time_steps, size * neurons), np.float32)
        row = dynamics[layer]
        forward(current, biases[layer], spikes, no_membrane, int(row[0]), row[1:6], row[6], row[7] > 0.0)
        inputs = spikes.reshape((time_steps * size, neurons))
    return inputs


@jit
def decode(spikes, step_weights, weight, bias, populations):  # type: ignore[no-untyped-def]
    """
    A linear map of the spikes' weighted sum over the steps; see ``decoders``.

    ``spikes`` is ``[T * N, F]``, ``step_weights`` ``[T]``, ``weight`` ``[D, P]``; with ``populations`` each output has
    its own ``P`` of the ``F`` neurons, else all of them. ``bias`` counts once per step. Returns ``[N, D]``.
    """
    time_steps = len(step_weights)
    size = len(spikes) // time_steps
    outputs, population = weight.shape
    decoded = np.empty((size, outputs), np.float32)
    for n in range(size):
        values = np.zeros(spikes.shape[1], np.float32)
        for t in range(time_steps):
            values += step_weights[t] * spikes[t * size + n]
        for d in range(outputs):
            first = d * population if populations else 0
            total = bias[d] * step_weights.sum()
            for p in range(population):
                total += weight[d, p] * values[first + p]
            decoded[n, d] = total
    return decoded
