"""
Numba kernels for a population of neurons on the CPU: all time steps in one pass over memory, forward and backward.

Neurons within a population do not interact, so a block of them that fits the first-level cache is carried through all
the steps before the next block starts: memory is read once and written once. The trace holds the states before each
reset; spikes and resets of the backward pass are computed from it.

The loops are generic. Each neuron gets compiled copies of its own, with its equations inlined.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from sb3_spiking.snn.elementwise import Elementwise
from sb3_spiking.snn.execution import sparse_products
from sb3_spiking.snn.execution.compilation import inlined, jit
from sb3_spiking.snn.execution.dynamics import Dynamics, Gradients
from sb3_spiking.snn.execution.variables import load, store
from sb3_spiking.snn.neurons.equations import Equations

BLOCK = 512
"""Number of neurons of a block."""


@cache
def forward_loop(equations: Equations) -> Any:
    """Compile the forward pass of a neuron."""
    charge, margin, reset = map(inlined, (equations.charge, equations.margin, equations.reset.forward))
    variables, kept, reset_variables = equations.variables, equations.kept, equations.reset_variables

    def loop(current, given_bias, spikes, trace, threshold, constants):  # type: ignore[no-untyped-def]
        """
        Run a population from rest, on arrays ``[T, M]``; a ``current`` of one row is the same at each step.

        ``given_bias`` is ``[features]``, a divisor of M. ``trace`` is ``[kept, T, M]``, or ``[kept, 0, 0]`` to keep no
        states. Spikes or the first variable of the trace may share the memory of the current: each loop writes to one
        given array alone, and an element is written after it was read.
        """
        time_steps, size = spikes.shape
        last = current.shape[0] - 1
        keep = trace.shape[1] > 0
        zero, one = current.dtype.type(0.0), current.dtype.type(1.0)
        # The bias of a block: blocks are whole rows of features, so that one copy serves them all.
        block = max(1, BLOCK // given_bias.size) * given_bias.size
        bias = np.empty(block, current.dtype)
        for j in range(block):
            bias[j] = given_bias[j % given_bias.size]
        states = np.empty((variables, block), current.dtype)
        for start in range(0, size, block):
            n = min(block, size - start)
            states[:] = zero
            for t in range(time_steps):
                x = current[min(t, last), start : start + n]
                s = spikes[t, start : start + n]
                # Charge: the input current changes the states.
                for j in range(n):
                    state = load(states, j, variables, variables)
                    store(charge(state, x[j] + bias[j], constants), states, j, variables)
                # Trace: the states before the reset, for the backward pass.
                if keep:
                    for k in range(kept):
                        variable, place = states[k], trace[k, t, start : start + n]
                        for j in range(n):
                            place[j] = variable[j]
                # Fire and reset; only the variables that the reset changes are written.
                for j in range(n):
                    state = load(states, j, variables, variables)
                    spike = one if margin(state, threshold, constants) >= zero else zero
                    s[j] = spike
                    store(reset(state, spike, threshold, constants), states, j, reset_variables)

    counts = (variables, kept, reset_variables)
    return jit(loop, equations.charge, equations.margin, equations.reset.forward, *counts)


@cache
def backward_loop(equations: Equations, derivative: Elementwise) -> Any:
    """Compile the backward pass of a neuron with the derivative of a surrogate."""
    functions = [equations.charge_backward, equations.margin, equations.margin_backward, *equations.reset, derivative]
    charge_backward, margin, margin_backward, reset, reset_backward, slope_of = map(inlined, functions)
    learns = equations.learnt_backward is not None
    learnt_function = equations.learnt_backward or _nothing_learnt
    learnt_backward = inlined(learnt_function)
    variables, kept = equations.variables, equations.kept

    def loop(  # type: ignore[no-untyped-def]
        grad_spikes, trace, grad_current, grad_sum, threshold, constants, through_reset, surrogate_constants
    ):
        """
        Backpropagate through time, on arrays ``[T, M]``; return the gradient of the learnt constant.

        ``trace`` is ``[kept, T, M]``. ``grad_sum`` is ``[M]``, the sum of the current's gradients over the steps;
        ``grad_current`` may have no rows where this sum is enough. ``through_reset`` is 0 where the gradient is stopped
        at the reset, else 1.

        With ``g(.)`` the surrogate, from the last step to the first::

            dL/ds_t += dL/dv_t  d v_t / d s_t
            dL/dh_t  = dL/dv_t  d v_t / d h_t + dL/ds_t g(h_t - threshold)
        """
        time_steps, size = grad_spikes.shape
        dtype = trace.dtype
        zero, one = dtype.type(0.0), dtype.type(1.0)
        keep = grad_current.shape[0] > 0
        not_kept = np.empty(BLOCK, dtype)
        at_rest = np.zeros((kept, BLOCK), dtype)
        gradients = np.empty((variables, BLOCK), dtype)
        slopes = np.empty(BLOCK, dtype)
        grad_learnt = 0.0
        for start in range(0, size, BLOCK):
            n = min(BLOCK, size - start)
            gradients[:] = zero
            sums = grad_sum[start : start + n]
            sums[:] = zero
            for t in range(time_steps - 1, -1, -1):
                states = trace[:, t, start : start + n]
                before = trace[:, t - 1, start : start + n] if t > 0 else at_rest
                ds = grad_spikes[t, start : start + n]
                dx = grad_current[t, start : start + n] if keep else not_kept[:n]
                # The surrogate's derivative of each spike.
                for j in range(n):
                    slopes[j] = slope_of(
                        margin(load(states, j, variables, kept), threshold, constants), surrogate_constants
                    )
                # Gradient through the reset and the spike, to the states before the reset.
                for j in range(n):
                    state = load(states, j, variables, kept)
                    spike = one if margin(state, threshold, constants) >= zero else zero
                    gradient = load(gradients, j, variables, variables)
                    gradient, grad_spike = reset_backward(gradient, state, spike, threshold, constants)
                    grad_margin = (ds[j] + grad_spike * through_reset) * slopes[j]
                    store(margin_backward(gradient, grad_margin, constants), gradients, j, variables)
                # Gradient of the learnt constant; the states before the charge are those after the last reset.
                if learns:
                    for j in range(n):
                        state = load(before, j, variables, kept)
                        spike = one if margin(state, threshold, constants) >= zero else zero
                        state = reset(state, spike, threshold, constants)
                        grad_learnt += learnt_backward(load(gradients, j, variables, variables), state, constants)
                # Gradient through the charge, to the current and to the states after the last reset.
                for j in range(n):
                    state = load(before, j, variables, kept)
                    spike = one if margin(state, threshold, constants) >= zero else zero
                    state = reset(state, spike, threshold, constants)
                    dx[j], gradient = charge_backward(load(gradients, j, variables, variables), state, constants)
                    store(gradient, gradients, j, variables)
                # Sum of the current's gradients over the steps.
                for j in range(n):
                    sums[j] = sums[j] + dx[j]
        return grad_learnt

    return jit(loop, *functions, learnt_function, learns, variables, kept)


def _nothing_learnt(gradient: Any, before: Any, constants: Any) -> Any:
    return gradient[0]


@jit
def _regular_loop(activity, spikes, threshold, initial):  # type: ignore[no-untyped-def]
    """Run soft-reset integrators from an initial membrane; ``activity`` is ``[M]``, ``spikes`` ``[T, M]``."""
    time_steps, size = spikes.shape
    zero, one = activity.dtype.type(0.0), activity.dtype.type(1.0)
    theta, v0 = activity.dtype.type(threshold), activity.dtype.type(initial)
    v = np.empty(BLOCK, activity.dtype)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        a = activity[start : start + n]
        v[:] = v0
        for t in range(time_steps):
            s = spikes[t, start : start + n]
            # Integrate, fire, subtract the threshold.
            for j in range(n):
                v[j] = v[j] + a[j]
                s[j] = one if v[j] - theta >= zero else zero
                v[j] = v[j] - s[j] * theta


def _flat(tensor: th.Tensor) -> np.ndarray:
    """Return ``[T, ...]`` as a NumPy view ``[T, M]``."""
    return tensor.numpy().reshape(tensor.shape[0], math.prod(tensor.shape[1:]))


def numbers(values: tuple[float, ...], dtype: np.dtype) -> tuple[Any, ...]:
    """Convert numbers to the type of the arrays, since one float64 would turn float32 arithmetic into float64."""
    return tuple(map(dtype.type, values))


def constants_of(dynamics: Dynamics) -> tuple[float, ...]:
    """Return the constants of the equations, the learnt one last."""
    return dynamics.constants if dynamics.learnt is None else (*dynamics.constants, dynamics.learnt.item())


def forward(
    dynamics: Dynamics,
    current: th.Tensor,
    spikes: th.Tensor,
    trace: th.Tensor | None = None,
    bias: th.Tensor | None = None,
) -> None:
    """Run neurons from rest over all the time steps; see [`Backend`][sb3_spiking.snn.execution.backends.Backend]."""
    if current.numel() == 0:
        return
    flat = _flat(current)
    kept = dynamics.equations.kept
    forward_loop(dynamics.equations)(
        flat,
        (current.new_zeros(1) if bias is None else bias).numpy(),
        _flat(spikes),
        np.empty((kept, 0, 0), flat.dtype) if trace is None else trace.numpy().reshape(kept, len(spikes), -1),
        flat.dtype.type(dynamics.threshold),
        numbers(constants_of(dynamics), flat.dtype),
    )


def backward(dynamics: Dynamics, trace: th.Tensor, grad_spikes: th.Tensor, constant: bool = False) -> Gradients:
    """Backpropagate through all the steps; see [`Backend`][sb3_spiking.snn.execution.backends.Backend]."""
    membrane = trace[0]
    grad_current, grad_sum = th.empty_like(membrane[:0] if constant else membrane), th.empty_like(membrane[0])
    grad_learnt = 0.0
    if membrane.numel() > 0:
        flat = trace.numpy().reshape(len(trace), len(membrane), -1)
        derivative, surrogate_constants = dynamics.slope()
        grad_learnt = backward_loop(dynamics.equations, derivative)(
            _flat(grad_spikes.contiguous()),
            flat,
            _flat(grad_current),
            grad_sum.numpy().reshape(-1),
            flat.dtype.type(dynamics.threshold),
            numbers(constants_of(dynamics), flat.dtype),
            flat.dtype.type(0.0 if dynamics.detach_reset else 1.0),
            numbers(surrogate_constants, flat.dtype),
        )
    learns = dynamics.learnt is not None
    return Gradients(grad_current, grad_sum, membrane.new_tensor(grad_learnt) if learns else None)


def regular_spikes(activity: th.Tensor, spikes: th.Tensor, threshold: float, initial: float = 0.0) -> None:
    """Run soft-reset integrators; see [`Backend`][sb3_spiking.snn.execution.backends.Backend]."""
    if activity.numel() > 0:
        _regular_loop(activity.numpy().reshape(-1), _flat(spikes), threshold, initial)


def cache_folder() -> Path | None:
    """Return the folder of the compiled loops; None where no folder can be written, or nothing is compiled."""
    stats = getattr(_regular_loop, "stats", None)
    return None if stats is None or stats.cache_path is None else Path(stats.cache_path)


def warm_up() -> None:
    """Compile the kernels that all networks share, or load them from numba's cache."""
    if getattr(_regular_loop, "signatures", True):  # without a compiler (NUMBA_DISABLE_JIT) there are none
        return
    one = np.zeros((1, 1), np.float32)
    _regular_loop(one[0], one.copy(), 0.999, 0.0)
    sparse_products.warm_up()


def warm_up_neuron(dynamics: Dynamics) -> None:
    """Compile the loops of a neuron, or load them from numba's cache."""
    loops = (forward_loop(dynamics.equations), backward_loop(dynamics.equations, dynamics.slope()[0]))
    if all(getattr(loop, "signatures", True) for loop in loops):
        return
    current = th.zeros(1, 1, 1)
    trace = th.zeros(dynamics.equations.kept, 1, 1, 1)
    forward(dynamics, current, th.zeros(1, 1, 1), trace)
    backward(dynamics, trace, th.zeros(1, 1, 1))
