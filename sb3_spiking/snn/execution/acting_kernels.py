"""
Numba kernels for acting: a few observations through a whole network, from features to outputs.

With few rows a decision costs calls, not arithmetic: torch makes some 60 of them, these kernels three. Weights are read
from the parameters themselves, so no copy can be out of date. Sums run in another order than torch's, so a membrane
within rounding of its threshold may fall on the other side of it.
"""

from functools import cache, partial
from typing import Any

import numpy as np

from sb3_spiking.snn.execution.compilation import UNORDERED, jit
from sb3_spiking.snn.execution.numba_loops import forward_loop
from sb3_spiking.snn.neurons.equations import Equations


@jit
def encode(observations, mean, std, min_std, threshold, time_steps):  # type: ignore[no-untyped-def]
    """
    Compute receptive fields and their regular spikes; see ``encoders``.

    ``observations`` is ``[N, D]``, ``mean`` and ``std`` are ``[D, P]``. Return the spikes, ``[T * N, D * P]``, and
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
                # Activity of a receptive field.
                distance = (observation - mean[d, p]) / max(std[d, p], narrowest)
                activity = np.exp(half * (distance * distance))
                # Regular spikes of a soft-reset integrator.
                v = zero
                for t in range(time_steps):
                    v = v + activity
                    fires = v - theta >= zero
                    spikes[t * size + n, d * population + p] = one if fires else zero
                    v = v - theta if fires else v
    return spikes, True


@partial(jit, fastmath=UNORDERED)
def _currents(inputs, weight, current):  # type: ignore[no-untyped-def]
    """
    Compute ``current = inputs @ weight.T``, ``[R, K]`` to ``[R, J]``, four neurons and five rows at a time.

    Their twenty sums stay in registers. Where fewer are left, the last neuron or row is computed several times.
    """
    last_row, last_neuron = len(inputs) - 1, len(weight) - 1
    fan_in = weight.shape[1]
    zero = np.float32(0.0)
    for j in range(0, last_neuron + 1, 4):
        # Neurons j, k, m, n and their weights.
        k, m, n = min(j + 1, last_neuron), min(j + 2, last_neuron), min(j + 3, last_neuron)
        w0, w1, w2, w3 = weight[j], weight[k], weight[m], weight[n]
        for r in range(0, last_row + 1, 5):
            # Rows r, t, u, v, w and their inputs.
            t, u = min(r + 1, last_row), min(r + 2, last_row)
            v, w = min(r + 3, last_row), min(r + 4, last_row)
            s0, s1, s2, s3, s4 = inputs[r], inputs[t], inputs[u], inputs[v], inputs[w]
            a0 = a1 = a2 = a3 = a4 = b0 = b1 = b2 = b3 = b4 = zero
            c0 = c1 = c2 = c3 = c4 = d0 = d1 = d2 = d3 = d4 = zero
            # Sums a, b, c, d of the four neurons for the rows 0 to 4.
            for i in range(fan_in):
                a0 += w0[i] * s0[i]
                a1 += w0[i] * s1[i]
                a2 += w0[i] * s2[i]
                a3 += w0[i] * s3[i]
                a4 += w0[i] * s4[i]
                b0 += w1[i] * s0[i]
                b1 += w1[i] * s1[i]
                b2 += w1[i] * s2[i]
                b3 += w1[i] * s3[i]
                b4 += w1[i] * s4[i]
                c0 += w2[i] * s0[i]
                c1 += w2[i] * s1[i]
                c2 += w2[i] * s2[i]
                c3 += w2[i] * s3[i]
                c4 += w2[i] * s4[i]
                d0 += w3[i] * s0[i]
                d1 += w3[i] * s1[i]
                d2 += w3[i] * s2[i]
                d3 += w3[i] * s3[i]
                d4 += w3[i] * s4[i]
            current[r, j], current[t, j], current[u, j] = a0, a1, a2
            current[v, j], current[w, j] = a3, a4
            current[r, k], current[t, k], current[u, k] = b0, b1, b2
            current[v, k], current[w, k] = b3, b4
            current[r, m], current[t, m], current[u, m] = c0, c1, c2
            current[v, m], current[w, m] = c3, c4
            current[r, n], current[t, n], current[u, n] = d0, d1, d2
            current[v, n], current[w, n] = d3, d4


@cache
def layers(equations: Equations) -> Any:
    """Compile a kernel for consecutive layers with the same equations; see ``run``."""
    forward = forward_loop(equations)
    kept = equations.kept

    def run(inputs, size, time_steps, weights, biases, thresholds, constants):  # type: ignore[no-untyped-def]
        """
        Run layer after layer over all the time steps.

        ``inputs`` is ``[T * N, K]``, or ``[N, K]`` where it is the same at each step; ``weights`` and ``biases`` are
        tuples of ``[J, K]`` and ``[J]``, ``thresholds`` and ``constants`` tuples with an entry for each layer. Return
        the last spikes, ``[T * N, J]``.
        """
        no_trace = np.empty((kept, 0, 0), np.float32)
        for layer in range(len(weights)):
            neurons = weights[layer].shape[0]
            # Currents of all the steps, or of one where the inputs are constant.
            current = np.empty((time_steps, size * neurons), np.float32)
            if len(inputs) == time_steps * size:
                _currents(inputs, weights[layer], current.reshape((time_steps * size, neurons)))
            else:
                current = current[:1]
                _currents(inputs, weights[layer], current.reshape((size, neurons)))
            # Neurons over all the steps; their spikes are the inputs of the next layer.
            spikes = np.empty((time_steps, size * neurons), np.float32)
            forward(current, biases[layer], spikes, no_trace, thresholds[layer], constants[layer])
            inputs = spikes.reshape((time_steps * size, neurons))
        return inputs

    functions = (equations.charge, equations.margin, equations.reset.forward)
    return jit(run, *functions, equations.variables, kept, equations.reset_variables)


@jit
def decode(spikes, step_weights, weight, bias, populations, squashed):  # type: ignore[no-untyped-def]
    """
    Decode by a linear map of the spikes' weighted sum over the steps, and a tanh if ``squashed``; see ``decoders``.

    ``spikes`` is ``[T * N, F]``, ``step_weights`` ``[T]``, ``weight`` ``[D, P]``; with ``populations`` each output has
    its own ``P`` of the ``F`` neurons, else all of them. ``bias`` counts once per step. Return ``[N, D]``.
    """
    time_steps = len(step_weights)
    size = len(spikes) // time_steps
    outputs, population = weight.shape
    decoded = np.empty((size, outputs), np.float32)
    for n in range(size):
        # Weighted sum of the spikes over the steps.
        values = np.zeros(spikes.shape[1], np.float32)
        for t in range(time_steps):
            values += step_weights[t] * spikes[t * size + n]
        # Linear map and output activation.
        for d in range(outputs):
            first = d * population if populations else 0
            total = bias[d] * step_weights.sum()
            for p in range(population):
                total += weight[d, p] * values[first + p]
            decoded[n, d] = np.tanh(total) if squashed else total
    return decoded
