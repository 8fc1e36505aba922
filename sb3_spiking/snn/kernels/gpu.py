"""
A layer of neurons on a GPU: all its time steps in one launch, forward and backward, in Triton.

Each program carries a block of neurons through all the steps in its registers; memory is read once and written once.
The equations and the order of operations are those of ``cpu``, and products are not contracted into sums (no fused
multiply-add), so that a neuron fires here where it fires there.

All the arrays are ``[T, M]`` and float32. A step is loaded while the one before it is computed.
"""

import math
from typing import Any

import torch as th
import triton
import triton.language as tl

from sb3_spiking.snn.kernels.equations import Charge, Equations, Gradients, SurrogateShape, charge_constants

BLOCK = 512
"""Neurons of a program: 16 bytes for each of its 128 threads."""

OPTIONS = {"enable_fp_fusion": False}
"""How the kernels are compiled: a fused multiply-add rounds once where SpikingJelly's nodes round twice."""

_CUBA, _LEAK = tl.constexpr(int(Charge.CUBA)), tl.constexpr(int(Charge.LEAK))
_LEARNT_LEAK, _DYNAMIC = tl.constexpr(int(Charge.LEARNT_LEAK)), tl.constexpr(int(Charge.DYNAMIC))
_RECT, _TRIANGLE = tl.constexpr(int(SurrogateShape.RECT)), tl.constexpr(int(SurrogateShape.TRIANGLE))
_ATAN = tl.constexpr(int(SurrogateShape.ATAN))


@triton.jit(do_not_specialize=["time_steps"])
def _forward_kernel(  # type: ignore[no-untyped-def]
    current,
    bias,
    leak,
    spikes,
    membrane,
    time_steps,
    size,
    features,
    k0,
    k1,
    k2,
    k3,
    k4,
    threshold,
    charge: tl.constexpr,
    soft_reset: tl.constexpr,
    constant: tl.constexpr,
    biased: tl.constexpr,
    keep: tl.constexpr,
    block: tl.constexpr,
):
    """``bias`` is ``[features]``; a ``constant`` current has one row."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < size
    if biased:
        # In 32 bits, but for the first: 64 would take a subroutine for each neuron.
        first = (tl.program_id(0).to(tl.int64) * block % features).to(tl.int32)
        b = tl.load(bias + (first + tl.arange(0, block)) % features)
    else:
        b = tl.zeros([block], tl.float32)
    a = tl.load(leak) if charge == _LEARNT_LEAK else k0
    zero, one = tl.zeros([block], tl.float32), tl.full([block], 1.0, tl.float32)
    v_reset = zero + k3 if charge == _DYNAMIC else zero
    c, u, v = zero, zero, zero
    current += at
    spikes += at
    membrane += at
    ahead = tl.load(current, mask=here, other=0.0)
    for t in range(time_steps):
        x = ahead + b
        if not constant:
            current += size
            ahead = tl.load(current, mask=at < size * tl.minimum(time_steps - 1 - t, 1), other=0.0)
        if charge == _CUBA:
            c = c * a + x
            v = v * k1 + c
        elif charge == _LEAK:
            v = v - tl.math.div_rn(v, zero + a) + x
        elif charge == _LEARNT_LEAK:
            v = v - v * a + x
        elif charge == _DYNAMIC:
            c = c * a + x
            v = v * v - u + c
            u = u + (v * k1 - u * k2)
        else:
            v = v + x
        fired = v - threshold >= 0.0
        if keep:
            tl.store(membrane, v, mask=here)
            membrane += size
        tl.store(spikes, tl.where(fired, one, zero), mask=here)
        spikes += size
        if charge == _DYNAMIC:
            u = tl.where(fired, u + k4, u)
        v = tl.where(fired, v - threshold if soft_reset else v_reset, v)


@triton.jit(do_not_specialize=["time_steps"])
def _backward_kernel(  # type: ignore[no-untyped-def]
    grad_spikes,
    membrane,
    leak,
    grad_current,
    grad_sum,
    grad_leak,
    time_steps,
    size,
    k0,
    k1,
    k2,
    k3,
    k4,
    threshold,
    alpha,
    reach,
    charge: tl.constexpr,
    soft_reset: tl.constexpr,
    detach_reset: tl.constexpr,
    surrogate: tl.constexpr,
    keep: tl.constexpr,
    block: tl.constexpr,
):
    """
    See ``cpu`` for the equations; ``grad_sum`` is ``[M]``, ``grad_leak`` has an element for each program.

    ``reach`` is how far from the threshold a window ends: neurons at rest may lie on that edge, and a quotient taken on
    the GPU may be off by a bit.
    """
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < size
    a = tl.load(leak) if charge == _LEARNT_LEAK else k0
    zero = tl.zeros([block], tl.float32)
    through_reset = 0.0 if detach_reset else 1.0
    dc, du, dv, total, leak_total = zero, zero, zero, zero, zero
    last = (time_steps - 1).to(tl.int64) * size + at
    grad_spikes += last
    membrane += last
    grad_current += last
    h = tl.load(membrane, mask=here, other=0.0)
    ds = tl.load(grad_spikes, mask=here, other=0.0)
    for step in range(time_steps):
        membrane -= size
        grad_spikes -= size
        more = at < size * tl.minimum(time_steps - 1 - step, 1)
        # Before the first step all membranes are 0, and neither fired nor had an effect.
        earlier = tl.load(membrane, mask=more, other=0.0)
        ahead = tl.load(grad_spikes, mask=more, other=0.0)
        distance = h - threshold
        if surrogate == _RECT:
            slope = tl.where(tl.abs(distance) < reach, zero + alpha, zero)
        elif surrogate == _TRIANGLE:
            slope = tl.where(tl.abs(distance) <= reach, alpha - alpha * alpha * tl.abs(distance), zero)
        elif surrogate == _ATAN:
            z = 1.5707963267948966 * alpha * distance
            slope = 0.5 * alpha / (1.0 + z * z)
        else:
            sigmoid = 1.0 / (1.0 + tl.exp(-alpha * distance))
            slope = alpha * (1.0 - sigmoid) * sigmoid
        # dv is dL/dv_t, then dL/dh_t.
        if soft_reset:
            dv = dv + (ds - dv * (threshold * through_reset)) * slope
        else:
            kept = tl.where(distance >= 0.0, zero, dv)
            if charge == _DYNAMIC:
                after_spike = dv * ((k3 - h) * through_reset) + du * (k4 * through_reset)
            else:
                after_spike = -dv * (h * through_reset)
            dv = kept + (ds + after_spike) * slope
        dx = dv
        if charge == _CUBA:
            dc = dc * a + dv
            dx = dc
            dv = dv * k1
        elif charge == _LEAK:
            dv = dv * (1.0 - 1.0 / a)
        elif charge == _LEARNT_LEAK:
            after = tl.where(earlier - threshold >= 0.0, earlier - threshold if soft_reset else zero, earlier)
            leak_total -= dv * after
            dv = dv * (1.0 - a)
        elif charge == _DYNAMIC:
            dh = dv + du * k1
            dc = dc * a + dh
            dx = dc
            du = du * (1.0 - k2) - dh
            after = tl.where(earlier - threshold >= 0.0, zero + k3, earlier)
            dv = dh * (after + after)
        total += dx
        if keep:
            tl.store(grad_current, dx, mask=here)
            grad_current -= size
        h = earlier
        ds = ahead
    tl.store(grad_sum + at, total, mask=here)
    if charge == _LEARNT_LEAK:
        tl.store(grad_leak + tl.program_id(0), tl.sum(tl.where(here, leak_total, zero)))


@triton.jit(do_not_specialize=["time_steps"])
def _regular_kernel(activity, spikes, time_steps, size, threshold, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """``activity`` is ``[M]``."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < size
    zero, one = tl.zeros([block], tl.float32), tl.full([block], 1.0, tl.float32)
    a = tl.load(activity + at, mask=here, other=0.0)
    v = zero
    spikes += at
    for _ in range(time_steps):
        v = v + a
        fired = v - threshold >= 0.0
        tl.store(spikes, tl.where(fired, one, zero), mask=here)
        spikes += size
        v = tl.where(fired, v - threshold, v)


def _launch(kernel: Any, size: int, tensor: th.Tensor, *args: Any, **choices: Any) -> None:
    # A launch goes to the current device, not to that of its tensors.
    with th.cuda.device_of(tensor):
        kernel[(triton.cdiv(size, BLOCK),)](tensor, *args, **choices, block=BLOCK, **OPTIONS)


def forward(
    equations: Equations,
    current: th.Tensor,
    spikes: th.Tensor,
    membrane: th.Tensor | None = None,
    bias: th.Tensor | None = None,
) -> None:
    """Run neurons from rest over all the time steps; see ``cpu.forward``, but in float32 on a GPU."""
    if current.numel() == 0:
        return
    size = math.prod(spikes.shape[1:])
    _launch(
        _forward_kernel,
        size,
        current,
        current if bias is None else bias.contiguous(),
        current if equations.leak is None else equations.leak.detach(),
        spikes,
        spikes if membrane is None else membrane,
        len(spikes),
        size,
        1 if bias is None else len(bias),
        *_constants(equations),
        equations.threshold,
        charge=int(equations.charge),
        soft_reset=equations.soft_reset,
        constant=len(current) < len(spikes),
        biased=bias is not None,
        keep=membrane is not None,
    )


def backward(equations: Equations, membrane: th.Tensor, grad_spikes: th.Tensor, constant: bool = False) -> Gradients:
    """Go back through all the steps; see ``cpu.backward``, but in float32 on a GPU."""
    grad_current, grad_sum = th.empty_like(membrane[:0] if constant else membrane), th.empty_like(membrane[0])
    size = grad_sum.numel()
    # One sum for each program, added up in the same order each time.
    grad_leak = membrane.new_zeros(triton.cdiv(size, BLOCK)) if equations.leak is not None else None
    if membrane.numel() > 0:
        _launch(
            _backward_kernel,
            size,
            grad_spikes.contiguous(),
            membrane,
            membrane if equations.leak is None else equations.leak.detach(),
            membrane if constant else grad_current,
            grad_sum,
            grad_sum if grad_leak is None else grad_leak,
            len(membrane),
            size,
            *_constants(equations),
            equations.threshold,
            equations.alpha,
            (0.5 if equations.surrogate == SurrogateShape.RECT else 1.0) / equations.alpha,
            charge=int(equations.charge),
            soft_reset=equations.soft_reset,
            detach_reset=equations.detach_reset,
            surrogate=int(equations.surrogate),
            keep=not constant,
        )
    return Gradients(grad_current, grad_sum, None if grad_leak is None else grad_leak.sum())


def regular_spikes(activity: th.Tensor, spikes: th.Tensor, threshold: float) -> None:
    """Run soft-reset integrators from rest; see ``cpu.regular_spikes``, but in float32 on a GPU."""
    size = activity.numel()
    if size > 0:
        _launch(_regular_kernel, size, activity, spikes, len(spikes), size, threshold)


def try_out(device: th.device | str) -> None:
    """
    Run a neuron whose spikes are known.

    :param device: where
    :raises RuntimeError: if it does not fire where it must; Triton raises what it likes
    """
    # c: 0.4, 0.6, 0.7, 0.35; h: 0.4, 0.9 (fires), 0.7 (fires), 0.35
    neuron = Equations(Charge.CUBA, 0.5, False, False, SurrogateShape.RECT, 1.0, (0.5, 0.75))
    current = th.tensor([[0.4], [0.4], [0.4], [0.0]], device=device)
    spikes, membrane = th.empty_like(current), th.empty_like(current)
    forward(neuron, current, spikes, membrane)
    gradient = backward(neuron, membrane, th.ones_like(spikes)).current
    if spikes.flatten().tolist() != [0.0, 1.0, 1.0, 0.0] or not gradient.isfinite().all():
        raise RuntimeError(f"the kernels compute something else: spikes {spikes.flatten().tolist()}")


def _constants(equations: Equations) -> list[float]:
    # A learnt leak stays on the GPU: to read it here would wait for all that was launched before.
    return charge_constants(equations.constants, None)
