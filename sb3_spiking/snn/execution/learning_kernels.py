"""
Numba kernels for the backward pass of a whole network, from what ``acting_kernels`` kept.

The products between the layers are left to torch. Rows of observations and time steps lie tile by tile, as there.
"""

from functools import cache
from typing import Any

import numpy as np

from sb3_spiking.snn.elementwise import Elementwise
from sb3_spiking.snn.execution.acting_kernels import observations_of_tile
from sb3_spiking.snn.execution.compilation import jit
from sb3_spiking.snn.execution.numba_loops import backward_loop
from sb3_spiking.snn.neurons.equations import Equations


@jit
def decoder_gradients(  # type: ignore[no-untyped-def]
    gradient, sums, step_weights, weight, populations, grad_weight, grad_spikes
):
    """
    Backpropagate through a linear decoder.

    ``gradient`` is ``[N, D]``, ``sums`` is ``[N, F]``, ``weight`` and ``grad_weight`` are ``[D, P]``, see ``_decode``;
    ``grad_spikes`` is memory for the gradient of the spikes, ``[T * N * F]``.
    """
    count, features = sums.shape
    outputs, population = weight.shape
    time_steps = step_weights.size
    tile = observations_of_tile(count, time_steps)
    grad_weight[:] = np.float32(0.0)
    pull = np.empty(features, np.float32)
    for first in range(0, count, tile):
        size = min(tile, count - first)
        for n in range(size):
            pull[:] = np.float32(0.0)
            for d in range(outputs):
                start = d * population if populations else 0
                g = gradient[first + n, d]
                for p in range(population):
                    grad_weight[d, p] += g * sums[first + n, start + p]
                    pull[start + p] += g * weight[d, p]
            for t in range(time_steps):
                place = (time_steps * first + t * size + n) * features
                for f in range(features):
                    grad_spikes[place + f] = step_weights[t] * pull[f]


@jit
def field_gradients(  # type: ignore[no-untyped-def]
    gradient, observations, activity, centres, widths, narrowest, grad_centres, grad_widths, grad_observations
):
    """
    Backpropagate through receptive fields; see ``receptive_fields.py``.

    ``gradient`` and ``activity`` are ``[N, D * P]``, ``observations`` is ``[N, D]``, ``centres``, ``widths`` and their
    gradients are ``[D, P]``; ``grad_observations`` is ``[N, D]``, or empty where it is not needed.
    """
    dimensions, population = centres.shape
    grad_centres[:] = np.float32(0.0)
    grad_widths[:] = np.float32(0.0)
    lowest = np.float32(narrowest)
    for n in range(len(observations)):
        for d in range(dimensions):
            total = np.float32(0.0)
            for p in range(population):
                k = d * population + p
                width = max(widths[d, p], lowest)
                distance = (observations[n, d] - centres[d, p]) / width
                pull = gradient[n, k] * activity[n, k] * distance / width
                grad_centres[d, p] += pull
                # A width that is too narrow is a constant.
                grad_widths[d, p] += pull * distance if widths[d, p] >= lowest else np.float32(0.0)
                total += pull
            if grad_observations.size > 0:
                grad_observations[n, d] = -total


@cache
def through_time(equations: Equations, derivative: Elementwise) -> Any:
    """Compile the backward pass of a layer of neurons with the derivative of a surrogate."""
    backward, kept = backward_loop(equations, derivative), equations.kept

    def run(  # type: ignore[no-untyped-def]
        gradient, traces, constant, grad_sum, threshold, constants, through_reset, surrogate_constants
    ):
        """
        Backpropagate through time; see ``backward_loop``.

        ``gradient``, ``[T, N * J]``, is that of the spikes and becomes that of the current, tile by tile, unless this
        is ``constant``. ``traces`` is ``[kept * T * N * J]``; ``grad_sum``, ``[N, J]``, becomes the sum of the
        current's gradients over the steps.
        """
        count, neurons = grad_sum.shape
        time_steps = len(gradient)
        flat, sums = gradient.reshape(-1), grad_sum.reshape(-1)
        tile = observations_of_tile(count, time_steps)
        for first in range(0, count, tile):
            size = min(tile, count - first)
            start, end = time_steps * first * neurons, time_steps * (first + size) * neurons
            own = flat[start:end].reshape((time_steps, size * neurons))
            trace = traces[kept * start : kept * end].reshape((kept, time_steps, size * neurons))
            backward(
                own,
                trace,
                own[:0] if constant else own,
                sums[first * neurons : (first + size) * neurons],
                threshold,
                constants,
                through_reset,
                surrogate_constants,
            )

    inside = (equations.charge_backward, equations.margin, equations.margin_backward, *equations.reset, derivative)
    return jit(run, *inside, equations.learnt_backward is not None, equations.variables, kept)
