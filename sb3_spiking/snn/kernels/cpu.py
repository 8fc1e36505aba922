"""
A layer of neurons on the CPU: all its time steps in one pass over memory, forward and backward.

Neurons do not interact within a layer, so a block of them small enough for the first-level cache is
carried through all the steps before the next block starts; memory is read once and written once.
Only the pre-spike membranes ``h`` are kept for the backward pass: spikes and resets follow from them.
"""

import math

import numpy as np
import torch as th

from sb3_spiking.snn.kernels import products
from sb3_spiking.snn.kernels.compilation import jit
from sb3_spiking.snn.kernels.equations import Charge, Equations, Gradients, SurrogateShape, charge_constants

BLOCK = 512

_CUBA, _LEAK, _LEARNT_LEAK = int(Charge.CUBA), int(Charge.LEAK), int(Charge.LEARNT_LEAK)
_DYNAMIC = int(Charge.DYNAMIC)
_RECT, _TRIANGLE, _ATAN = int(SurrogateShape.RECT), int(SurrogateShape.TRIANGLE), int(SurrogateShape.ATAN)


@jit
def forward_loop(  # type: ignore[no-untyped-def]
    current, given_bias, spikes, membrane, charge, constants, threshold, soft_reset
):
    """
    All arrays ``[T, M]``; ``current`` may have one row, then it is the same at each step, ``membrane`` none, then it
    is not kept.

    ``given_bias`` is ``[features]``, a divisor of M. Spikes or membranes may be written where the current lies: each
    loop writes to one array alone, and an element is written after it was read.
    """
    time_steps, size = spikes.shape
    last = current.shape[0] - 1
    keep = membrane.shape[0] > 0
    zero, one = current.dtype.type(0.0), current.dtype.type(1.0)
    a, b, theta = current.dtype.type(constants[0]), current.dtype.type(constants[1]), current.dtype.type(threshold)
    u_decay, jump = current.dtype.type(constants[2]), current.dtype.type(constants[4])
    v_reset = current.dtype.type(constants[3]) if charge == _DYNAMIC else zero
    # A block is whole rows of features, so that the same bias goes with all the blocks.
    block = max(1, BLOCK // given_bias.size) * given_bias.size
    bias = np.empty(block, current.dtype)
    for j in range(block):
        bias[j] = given_bias[j % given_bias.size]
    u = np.empty(block, current.dtype)
    c = np.empty(block, current.dtype)
    v = np.empty(block, current.dtype)
    for start in range(0, size, block):
        n = min(block, size - start)
        c[:] = zero
        u[:] = zero
        v[:] = zero
        for t in range(time_steps):
            x = current[min(t, last), start : start + n]
            s = spikes[t, start : start + n]
            if charge == _CUBA:
                for j in range(n):
                    c[j] = c[j] * a + (x[j] + bias[j])
                    v[j] = v[j] * b + c[j]
            elif charge == _LEAK:
                for j in range(n):
                    v[j] = v[j] - v[j] / a + (x[j] + bias[j])
            elif charge == _LEARNT_LEAK:
                for j in range(n):
                    v[j] = v[j] - v[j] * a + (x[j] + bias[j])
            elif charge == _DYNAMIC:
                for j in range(n):
                    c[j] = c[j] * a + (x[j] + bias[j])
                    v[j] = v[j] * v[j] - u[j] + c[j]
                    u[j] = u[j] + (v[j] * b - u[j] * u_decay)
                    u[j] = u[j] + jump if v[j] - theta >= zero else u[j]
            else:
                for j in range(n):
                    v[j] = v[j] + (x[j] + bias[j])
            if keep:
                h = membrane[t, start : start + n]
                for j in range(n):
                    h[j] = v[j]
            if soft_reset:
                for j in range(n):
                    s[j] = one if v[j] - theta >= zero else zero
                    v[j] = v[j] - s[j] * theta
            else:
                for j in range(n):
                    fired = v[j] - theta >= zero
                    s[j] = one if fired else zero
                    v[j] = v_reset if fired else v[j]


@jit
def _backward_loop(  # type: ignore[no-untyped-def]
    grad_spikes,
    membrane,
    grad_current,
    grad_sum,
    charge,
    constants,
    threshold,
    soft_reset,
    detach_reset,
    surrogate,
    alpha,
):
    """
    Backpropagation through time, all arrays ``[T, M]``; returns the gradient of the learnt leak.

    ``grad_sum`` is ``[M]``, the gradient of a current that is constant over the steps; ``grad_current`` may have no
    rows where no other is wanted.

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
    keep = grad_current.shape[0] > 0
    not_kept = np.empty(BLOCK, dtype)
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
        sums = grad_sum[start : start + n]
        sums[:] = zero
        for t in range(time_steps - 1, -1, -1):
            h = membrane[t, start : start + n]
            ds = grad_spikes[t, start : start + n]
            dx = grad_current[t, start : start + n] if keep else not_kept[:n]
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
            for j in range(n):
                sums[j] = sums[j] + dx[j]
    return grad_leak


@jit
def _regular_loop(activity, spikes, threshold):  # type: ignore[no-untyped-def]
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
    return tensor.numpy().reshape(tensor.shape[0], math.prod(tensor.shape[1:]))


def _charge(equations: Equations) -> tuple[int, np.ndarray]:
    return int(equations.charge), np.array(charge_constants(equations.constants, equations.leak))


def forward(
    equations: Equations,
    current: th.Tensor,
    spikes: th.Tensor,
    membrane: th.Tensor | None = None,
    bias: th.Tensor | None = None,
) -> None:
    """
    Run neurons from rest over all the time steps.

    :param equations: the neuron
    :param current: contiguous, ``[T, N, ...]``, or ``[1, N, ...]`` where it is the same at each step
    :param spikes: where to write them, ``[T, N, ...]``; may lie where the current lies
    :param membrane: where to write those before the reset, if they are wanted; may lie where the current lies
    :param bias: added to the current, ``[features]``, of the last dimension
    """
    if current.numel() == 0:
        return
    forward_loop(
        _flat(current),
        (current.new_zeros(1) if bias is None else bias).numpy(),
        _flat(spikes),
        _flat(current[:0] if membrane is None else membrane),
        *_charge(equations),
        equations.threshold,
        equations.soft_reset,
    )


def backward(equations: Equations, membrane: th.Tensor, grad_spikes: th.Tensor, constant: bool = False) -> Gradients:
    """
    Go back through all the steps.

    :param equations: the neuron
    :param membrane: what ``forward`` wrote
    :param grad_spikes: of the same shape
    :param constant: whether the current was the same at each step: then its gradient at each is not kept
    :return: the gradients of the current and of the learnt leak
    """
    grad_current, grad_sum = th.empty_like(membrane[:0] if constant else membrane), th.empty_like(membrane[0])
    grad_leak = 0.0
    if membrane.numel() > 0:
        grad_leak = _backward_loop(
            _flat(grad_spikes.contiguous()),
            _flat(membrane),
            _flat(grad_current),
            grad_sum.numpy().reshape(-1),
            *_charge(equations),
            equations.threshold,
            equations.soft_reset,
            equations.detach_reset,
            int(equations.surrogate),
            equations.alpha,
        )
    learns = equations.charge == Charge.LEARNT_LEAK
    return Gradients(grad_current, grad_sum, membrane.new_tensor(grad_leak) if learns else None)


def regular_spikes(activity: th.Tensor, spikes: th.Tensor, threshold: float) -> None:
    """
    Run soft-reset integrators from rest.

    :param activity: contiguous, what they integrate at each step, ``[N, ...]``
    :param spikes: where to write them, ``[T, N, ...]``
    :param threshold: they fire from it on
    """
    if activity.numel() > 0:
        _regular_loop(activity.numpy().reshape(-1), _flat(spikes), threshold)


def warm_up() -> None:
    """See [`warm_up`][sb3_spiking.snn.kernels.warm_up]."""
    if forward_loop.signatures:
        return
    one = np.zeros((1, 1), np.float32)
    constants = np.array([0.5, 0.75, 0.0, 0.0, 0.0])
    forward_loop(one, one[0], one.copy(), one.copy(), _CUBA, constants, 0.5, False)
    _backward_loop(one, one, one.copy(), one[0].copy(), _CUBA, constants, 0.5, False, False, _RECT, 1.0)
    _regular_loop(one[0], one.copy(), 0.999)
    products.warm_up()
