"""
The training kernel: a layer of neurons over all its time steps in one pass, forward and backward.

Neurons do not interact within a layer, so a block of them small enough for the first-level cache is
carried through all the steps before the next block starts; memory is read once and written once.
Only the pre-spike membranes ``h`` are kept for the backward pass: spikes and resets follow from them.
"""

import math
from typing import Any

import numba
import numpy as np
import torch as th

from sb3_spiking.snn.kernels import unrolled
from sb3_spiking.snn.kernels.equations import Charge, Equations, SurrogateShape, charge_constants

BLOCK = 512

_CUBA, _LEAK, _LEARNT_LEAK = int(Charge.CUBA), int(Charge.LEAK), int(Charge.LEARNT_LEAK)
_DYNAMIC = int(Charge.DYNAMIC)
_RECT, _TRIANGLE, _ATAN = int(SurrogateShape.RECT), int(SurrogateShape.TRIANGLE), int(SurrogateShape.ATAN)


def _jit(function: Any, fastmath: Any = False) -> Any:
    """Compile, and cache on disk where there is a place for it."""
    # Without fastmath rounding equals SpikingJelly's, operation by operation, without contraction.
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # Neither the package's folder nor the user's is writable.
        return numba.njit(function, **options)


@_jit
def _forward(current, spikes, membrane, charge, constants, threshold, soft_reset):  # type: ignore[no-untyped-def]
    """All arrays ``[T, M]``; ``membrane`` may have no rows, then it is not kept."""
    time_steps, size = current.shape
    keep = membrane.shape[0] > 0
    zero, one = current.dtype.type(0.0), current.dtype.type(1.0)
    a, b, theta = current.dtype.type(constants[0]), current.dtype.type(constants[1]), current.dtype.type(threshold)
    u_decay, jump = current.dtype.type(constants[2]), current.dtype.type(constants[4])
    v_reset = current.dtype.type(constants[3]) if charge == _DYNAMIC else zero
    u = np.empty(BLOCK, current.dtype)
    c = np.empty(BLOCK, current.dtype)
    v = np.empty(BLOCK, current.dtype)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        c[:] = zero
        u[:] = zero
        v[:] = zero
        for t in range(time_steps):
            x = current[t, start : start + n]
            s = spikes[t, start : start + n]
            if charge == _CUBA:
                for j in range(n):
                    c[j] = c[j] * a + x[j]
                    v[j] = v[j] * b + c[j]
            elif charge == _LEAK:
                for j in range(n):
                    v[j] = v[j] - v[j] / a + x[j]
            elif charge == _LEARNT_LEAK:
                for j in range(n):
                    v[j] = v[j] - v[j] * a + x[j]
            elif charge == _DYNAMIC:
                for j in range(n):
                    c[j] = c[j] * a + x[j]
                    v[j] = v[j] * v[j] - u[j] + c[j]
                    u[j] = u[j] + (v[j] * b - u[j] * u_decay)
                    u[j] = u[j] + jump if v[j] - theta >= zero else u[j]
            else:
                for j in range(n):
                    v[j] = v[j] + x[j]
            if keep:
                membrane[t, start : start + n] = v[:n]
            if soft_reset:
                for j in range(n):
                    s[j] = one if v[j] - theta >= zero else zero
                    v[j] = v[j] - s[j] * theta
            else:
                for j in range(n):
                    fired = v[j] - theta >= zero
                    s[j] = one if fired else zero
                    v[j] = v_reset if fired else v[j]


@_jit
def _backward(  # type: ignore[no-untyped-def]
    grad_spikes, membrane, grad_current, charge, constants, threshold, soft_reset, detach_reset, surrogate, alpha
):
    """
    Backpropagation through time, all arrays ``[T, M]``; returns the gradient of the learnt leak.

    With ``g(.)`` the surrogate, from the last step to the first::

        dL/ds_t += dL/dv_t  d v_t / d s_t             reset - h_t (hard reset), -threshold (soft reset)
        dL/dh_t  = dL/dv_t  d v_t / d h_t + dL/ds_t g(h_t - threshold)
    """
    time_steps, size = membrane.shape
    dtype = membrane.dtype
    zero, one = dtype.type(0.0), dtype.type(1.0)
    a, b, theta = dtype.type(constants[0]), dtype.type(constants[1]), dtype.type(threshold)
    u_kept, jump = dtype.type(1.0 - constants[2]), dtype.type(constants[4])
    v_reset = dtype.type(constants[3]) if charge == _DYNAMIC else zero
    steep, half_width = dtype.type(alpha), dtype.type(0.5 / alpha)
    full_width, steep2 = dtype.type(1.0 / alpha), dtype.type(alpha * alpha)
    half_steep, pi_half_steep = dtype.type(alpha / 2), dtype.type(math.pi * alpha / 2)
    retained = one - one / a if charge == _LEAK else one - a
    dc = np.empty(BLOCK, dtype)
    du = np.empty(BLOCK, dtype)
    dv = np.empty(BLOCK, dtype)
    slope = np.empty(BLOCK, dtype)
    grad_leak = 0.0
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        dc[:] = zero
        du[:] = zero
        dv[:] = zero
        for t in range(time_steps - 1, -1, -1):
            h = membrane[t, start : start + n]
            ds = grad_spikes[t, start : start + n]
            dx = grad_current[t, start : start + n]
            if surrogate == _RECT:
                for j in range(n):
                    slope[j] = steep if abs(h[j] - theta) < half_width else zero
            elif surrogate == _TRIANGLE:
                for j in range(n):
                    distance = abs(h[j] - theta)
                    slope[j] = zero if distance > full_width else steep - steep2 * distance
            elif surrogate == _ATAN:
                for j in range(n):
                    z = pi_half_steep * (h[j] - theta)
                    slope[j] = half_steep / (one + z * z)
            else:
                for j in range(n):
                    sigmoid = one / (one + np.exp(-steep * (h[j] - theta)))
                    slope[j] = steep * (one - sigmoid) * sigmoid
            # dv[j] holds dL/dv_t, then dL/dh_t.
            if soft_reset:
                through_reset = zero if detach_reset else theta
                for j in range(n):
                    dv[j] = dv[j] + (ds[j] - dv[j] * through_reset) * slope[j]
            elif charge == _DYNAMIC:
                through_reset = zero if detach_reset else one
                for j in range(n):
                    kept = zero if h[j] - theta >= zero else dv[j]
                    after_spike = dv[j] * ((v_reset - h[j]) * through_reset) + du[j] * (jump * through_reset)
                    dv[j] = kept + (ds[j] + after_spike) * slope[j]
            else:
                through_reset = zero if detach_reset else one
                for j in range(n):
                    kept = zero if h[j] - theta >= zero else dv[j]
                    dv[j] = kept + (ds[j] - dv[j] * (h[j] * through_reset)) * slope[j]
            if charge == _CUBA:
                for j in range(n):
                    dc[j] = dc[j] * a + dv[j]
                    dx[j] = dc[j]
                    dv[j] = dv[j] * b
            elif charge == _LEAK:
                for j in range(n):
                    dx[j] = dv[j]
                    dv[j] = dv[j] * retained
            elif charge == _LEARNT_LEAK:
                if t > 0:
                    earlier = membrane[t - 1, start : start + n]
                    for j in range(n):
                        fired = earlier[j] - theta >= zero
                        after = earlier[j] - theta if soft_reset else zero
                        grad_leak -= dv[j] * (after if fired else earlier[j])
                for j in range(n):
                    dx[j] = dv[j]
                    dv[j] = dv[j] * retained
            elif charge == _DYNAMIC:
                for j in range(n):
                    dh = dv[j] + du[j] * b
                    dc[j] = dc[j] * a + dh
                    dx[j] = dc[j]
                    du[j] = du[j] * u_kept - dh
                    dv[j] = dh
                if t > 0:
                    earlier = membrane[t - 1, start : start + n]
                    for j in range(n):
                        after = v_reset if earlier[j] - theta >= zero else earlier[j]
                        dv[j] = dv[j] * (after + after)
            else:
                for j in range(n):
                    dx[j] = dv[j]
    return grad_leak


@_jit
def _regular_spikes(activity, spikes, threshold):  # type: ignore[no-untyped-def]
    """``activity`` is ``[M]``, ``spikes`` ``[T, M]``."""
    time_steps, size = spikes.shape
    zero, one = activity.dtype.type(0.0), activity.dtype.type(1.0)
    theta = activity.dtype.type(threshold)
    v = np.empty(BLOCK, activity.dtype)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        a = activity[start : start + n]
        v[:] = zero
        for t in range(time_steps):
            s = spikes[t, start : start + n]
            for j in range(n):
                v[j] = v[j] + a[j]
                s[j] = one if v[j] - theta >= zero else zero
                v[j] = v[j] - s[j] * theta


def _flat(tensor: th.Tensor) -> np.ndarray:
    """Return ``[T, ...]`` as a NumPy view ``[T, M]``."""
    return tensor.numpy().reshape(tensor.shape[0], -1)


def _charge_constants(equations: Equations) -> tuple[int, np.ndarray]:
    return int(equations.charge), np.array(charge_constants(equations.constants, equations.leak))


def _run(equations: Equations, current: th.Tensor, keep_membrane: bool) -> tuple[th.Tensor, th.Tensor]:
    current = current.detach().contiguous()
    spikes = th.empty_like(current)
    membrane = th.empty_like(current) if keep_membrane else current.new_empty((0, *current.shape[1:]))
    if current.numel() > 0:
        _forward(
            _flat(current),
            _flat(spikes),
            _flat(membrane) if keep_membrane else np.empty((0, 0), spikes.numpy().dtype),
            *_charge_constants(equations),
            equations.threshold,
            equations.soft_reset,
        )
    return spikes, membrane


class _Fire(th.autograd.Function):
    """Spikes of a layer from rest, with the surrogate gradient through time."""

    @staticmethod
    def forward(ctx: Any, current: th.Tensor, leak: th.Tensor | None, equations: Equations) -> th.Tensor:
        spikes, membrane = _run(equations, current, keep_membrane=True)
        ctx.constants = _charge_constants(equations)
        # A tensor with a graph in ctx would leak; saved tensors do not.
        ctx.equations = equations._replace(leak=None)
        ctx.save_for_backward(membrane, current, leak)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> tuple[th.Tensor, th.Tensor | None, None]:
        membrane, current, leak = ctx.saved_tensors
        equations: Equations = ctx.equations
        if th.is_grad_enabled():
            return _differentiable_backward(equations, current, leak, grad_spikes)
        grad_current = th.empty_like(membrane)
        grad_leak = 0.0
        if membrane.numel() > 0:
            grad_leak = _backward(
                _flat(grad_spikes.contiguous()),
                _flat(membrane),
                _flat(grad_current),
                *ctx.constants,
                equations.threshold,
                equations.soft_reset,
                equations.detach_reset,
                int(equations.surrogate),
                equations.alpha,
            )
        return grad_current, None if leak is None else membrane.new_tensor(grad_leak), None


def _differentiable_backward(
    equations: Equations, current: th.Tensor, leak: th.Tensor | None, grad_spikes: th.Tensor
) -> tuple[th.Tensor, th.Tensor | None, None]:
    """Return the gradients with a graph of their own; ``once_differentiable`` would drop it without a word."""
    inputs = [tensor for tensor in (current, leak) if tensor is not None and tensor.requires_grad]
    spikes = unrolled.fire(equations, current, leak)
    gradients = iter(th.autograd.grad(spikes, inputs, grad_spikes, create_graph=True))
    grad_current = next(gradients) if current.requires_grad else None
    return grad_current, next(gradients, None), None  # type: ignore[return-value]


def fire(equations: Equations, current: th.Tensor) -> th.Tensor:
    """See [`fire`][sb3_spiking.snn.kernels.fire]."""
    learns = current.requires_grad or (equations.leak is not None and equations.leak.requires_grad)
    if learns and th.is_grad_enabled():
        return _Fire.apply(current, equations.leak, equations)
    return _run(equations, current, keep_membrane=False)[0]


def simulate(equations: Equations, current: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """See [`simulate`][sb3_spiking.snn.kernels.simulate]."""
    return _run(equations, current, keep_membrane=True)


def regular_spikes(activity: th.Tensor, time_steps: int, threshold: float) -> th.Tensor:
    """See [`regular_spikes`][sb3_spiking.snn.kernels.regular_spikes]."""
    activity = activity.detach().contiguous()
    spikes = activity.new_empty((time_steps, *activity.shape))
    if activity.numel() > 0:
        _regular_spikes(activity.numpy().reshape(-1), _flat(spikes), threshold)
    return spikes


def warm_up() -> None:
    """See [`warm_up`][sb3_spiking.snn.kernels.warm_up]."""
    if _forward.signatures:
        return
    one = np.zeros((1, 1), np.float32)
    constants = np.array([0.5, 0.75, 0.0, 0.0, 0.0])
    _forward(one, one.copy(), one.copy(), _CUBA, constants, 0.5, False)
    _backward(one, one, one.copy(), _CUBA, constants, 0.5, False, False, _RECT, 1.0)
    _regular_spikes(one[0], one.copy(), 0.999)
