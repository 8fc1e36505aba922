"""
Triton kernels for a population of neurons on a GPU: all time steps in one launch, forward and backward.

Each program carries a block of neurons through all the steps in its registers: memory is read once and written once.
The kernels are generic and take the neuron's equations as functions. Products and sums are not contracted (no fused
multiply-add), so that neurons fire exactly as on the CPU.

Arrays are ``[T, M]`` and float32. Each step is loaded while the one before it is computed.
"""

import ast
import inspect
import math
import textwrap
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch as th
import triton
import triton.language as tl

from sb3_spiking.snn import elementwise
from sb3_spiking.snn.execution.dynamics import Dynamics, Gradients
from sb3_spiking.snn.neurons import CubaLif
from sb3_spiking.snn.surrogates import Rect

BLOCK = 512
"""Number of neurons of a program: 16 bytes for each of its 128 threads."""

OPTIONS = {"enable_fp_fusion": False}
"""Options of Triton's compiler: a fused multiply-add rounds once where SpikingJelly's nodes round twice."""


@triton.jit
def _where(condition, a, b):  # type: ignore[no-untyped-def]
    return tl.where(condition, a, b)


@triton.jit
def _divide(a, b):  # type: ignore[no-untyped-def]
    # Triton's "/" may be wrong in the last bit. div_rn needs blocks of equal shape, hence b + (a - a).
    return tl.math.div_rn(a, b + (a - a))


@triton.jit
def _absolute(x):  # type: ignore[no-untyped-def]
    return tl.abs(x)


@triton.jit
def _exp(x):  # type: ignore[no-untyped-def]
    return tl.exp(x)


OWN = {
    elementwise.where: _where,
    elementwise.divide: _divide,
    elementwise.absolute: _absolute,
    elementwise.exp: _exp,
}
"""Elementwise functions -> Triton's replacements."""


@cache
def _compiled(function: Callable[..., Any]) -> Any:
    return elementwise.compiled_by(_jit, OWN, function)


def _jit(function: FunctionType) -> Any:
    """Compile a copy of an equation that has globals of its own."""
    source = ast.parse(textwrap.dedent(inspect.getsource(function)))
    annotations = {node.id for node in ast.walk(source) if isinstance(node, ast.Name)} - {*function.__code__.co_names}
    # Triton evaluates annotations, which must be its own types; its interpreter needs the module as a global.
    function.__globals__.update(dict.fromkeys(annotations, tl.tensor) | {"tl": tl})
    return triton.jit(function)


@triton.jit
def _no_gradient(gradient, before, constants):  # type: ignore[no-untyped-def]
    return gradient[0]


@triton.jit(do_not_specialize=["time_steps"])
def _forward_kernel(  # type: ignore[no-untyped-def]
    current,
    bias,
    learnt,
    spikes,
    trace,
    time_steps,
    size,
    features,
    threshold,
    given_constants,
    charge: tl.constexpr,
    margin: tl.constexpr,
    reset: tl.constexpr,
    variables: tl.constexpr,
    kept: tl.constexpr,
    learns: tl.constexpr,
    constant: tl.constexpr,
    biased: tl.constexpr,
    keep: tl.constexpr,
    block: tl.constexpr,
):
    """Run neurons from rest; ``bias`` is ``[features]``, ``trace`` ``[kept, T, M]``, constant currents ``[M]``."""
    # The neurons of this program.
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < size
    # Their biases. Only the first index is computed in 64 bits: a division of 64 bits is a subroutine for each neuron.
    if biased:
        first = (tl.program_id(0).to(tl.int64) * block % features).to(tl.int32)
        b = tl.load(bias + (first + tl.arange(0, block)) % features)
    else:
        b = tl.zeros([block], tl.float32)
    if learns:
        constants = given_constants + (tl.load(learnt),)
    else:
        constants = given_constants
    zero, one = tl.zeros([block], tl.float32), tl.full([block], 1.0, tl.float32)
    # Rest, and pointers to the first step.
    state = (zero,) * variables
    current += at
    spikes += at
    trace += at
    steps = time_steps.to(tl.int64) * size
    ahead = tl.load(current, mask=here, other=0.0)
    for t in range(time_steps):
        # Load the current of the next step.
        x = ahead + b
        if not constant:
            current += size
            ahead = tl.load(current, mask=at < size * tl.minimum(time_steps - 1 - t, 1), other=0.0)
        # Charge, and trace of the states before the reset.
        state = charge(state, x, constants)
        if keep:
            for variable in tl.static_range(kept):
                tl.store(trace + variable * steps, state[variable], mask=here)
            trace += size
        # Fire and reset.
        spike = tl.where(margin(state, threshold, constants) >= 0.0, one, zero)
        tl.store(spikes, spike, mask=here)
        spikes += size
        state = reset(state, spike, threshold, constants)


@triton.jit(do_not_specialize=["time_steps"])
def _backward_kernel(  # type: ignore[no-untyped-def]
    grad_spikes,
    trace,
    learnt,
    grad_current,
    grad_sum,
    grad_learnt,
    time_steps,
    size,
    threshold,
    given_constants,
    surrogate_constants,
    charge_backward: tl.constexpr,
    margin: tl.constexpr,
    margin_backward: tl.constexpr,
    reset: tl.constexpr,
    reset_backward: tl.constexpr,
    learnt_backward: tl.constexpr,
    derivative: tl.constexpr,
    variables: tl.constexpr,
    kept: tl.constexpr,
    learns: tl.constexpr,
    through_reset: tl.constexpr,
    keep: tl.constexpr,
    block: tl.constexpr,
):
    """Backpropagate as in ``numba_loops``; ``grad_sum`` is ``[M]``, ``grad_learnt`` has one element per program."""
    # The neurons of this program.
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < size
    if learns:
        constants = given_constants + (tl.load(learnt),)
    else:
        constants = given_constants
    zero, one = tl.zeros([block], tl.float32), tl.full([block], 1.0, tl.float32)
    # Gradients after the last step, and pointers to it.
    gradient = (zero,) * variables
    total, learnt_total = zero, zero
    last = (time_steps - 1).to(tl.int64) * size + at
    steps = time_steps.to(tl.int64) * size
    grad_spikes += last
    trace += last
    grad_current += last
    state = _loaded(trace, steps, here, zero, variables, kept)
    ds = tl.load(grad_spikes, mask=here, other=0.0)
    for step in range(time_steps):
        # Load the step before; before the first step all the states are 0.
        trace -= size
        grad_spikes -= size
        more = at < size * tl.minimum(time_steps - 1 - step, 1)
        earlier = _loaded(trace, steps, more, zero, variables, kept)
        ahead = tl.load(grad_spikes, mask=more, other=0.0)
        distance = margin(state, threshold, constants)
        spike = tl.where(distance >= 0.0, one, zero)
        # Gradient through the reset and the spike, to the states before the reset.
        gradient, grad_spike = reset_backward(gradient, state, spike, threshold, constants)
        if through_reset:
            grad_spike = ds + grad_spike
        else:
            grad_spike = ds
        gradient = margin_backward(gradient, grad_spike * derivative(distance, surrogate_constants), constants)
        # Gradient through the charge, to the current and to the states after the last reset.
        spike = tl.where(margin(earlier, threshold, constants) >= 0.0, one, zero)
        before = reset(earlier, spike, threshold, constants)
        if learns:
            learnt_total += learnt_backward(gradient, before, constants)
        dx, gradient = charge_backward(gradient, before, constants)
        # Gradient of the current, and its sum over the steps.
        total += dx
        if keep:
            tl.store(grad_current, dx, mask=here)
            grad_current -= size
        state = earlier
        ds = ahead
    tl.store(grad_sum + at, total, mask=here)
    if learns:
        tl.store(grad_learnt + tl.program_id(0), tl.sum(tl.where(here, learnt_total, zero)))


@triton.jit
def _loaded(trace, steps, mask, zero, variables: tl.constexpr, kept: tl.constexpr):  # type: ignore[no-untyped-def]
    """Load a state: its kept variables, and 0 for the others."""
    # Without an annotation: Triton would look for its name.
    state = (tl.load(trace, mask=mask, other=0.0),)
    for variable in tl.static_range(1, variables):
        if variable < kept:
            state = state + (tl.load(trace + variable * steps, mask=mask, other=0.0),)  # type: ignore[assignment]
        else:
            state = state + (zero,)  # type: ignore[assignment]
    return state


@triton.jit(do_not_specialize=["time_steps"])
def _regular_kernel(  # type: ignore[no-untyped-def]
    activity, spikes, time_steps, size, threshold, initial, block: tl.constexpr
):
    """Run soft-reset integrators from an initial membrane; ``activity`` is ``[M]``."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    here = at < size
    zero, one = tl.zeros([block], tl.float32), tl.full([block], 1.0, tl.float32)
    a = tl.load(activity + at, mask=here, other=0.0)
    v = zero + initial
    spikes += at
    for _ in range(time_steps):
        # Integrate, fire, subtract the threshold.
        v = v + a
        fired = v - threshold >= 0.0
        tl.store(spikes, tl.where(fired, one, zero), mask=here)
        spikes += size
        v = tl.where(fired, v - threshold, v)


def _launch(kernel: Any, size: int, tensor: th.Tensor, *args: Any, **choices: Any) -> None:
    # Triton launches on the current device, which may not be that of the tensors.
    with th.cuda.device_of(tensor):
        kernel[(triton.cdiv(size, BLOCK),)](tensor, *args, **choices, block=BLOCK, **OPTIONS)


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
    size = math.prod(spikes.shape[1:])
    equations = dynamics.equations
    _launch(
        _forward_kernel,
        size,
        current,
        current if bias is None else bias.contiguous(),
        current if dynamics.learnt is None else dynamics.learnt.detach(),
        spikes,
        spikes if trace is None else trace,
        len(spikes),
        size,
        1 if bias is None else len(bias),
        float(dynamics.threshold),
        _floats(dynamics.constants),
        charge=_compiled(equations.charge),
        margin=_compiled(equations.margin),
        reset=_compiled(equations.reset.forward),
        variables=equations.variables,
        kept=equations.kept,
        learns=dynamics.learnt is not None,
        constant=len(current) < len(spikes),
        biased=bias is not None,
        keep=trace is not None,
    )


def backward(dynamics: Dynamics, trace: th.Tensor, grad_spikes: th.Tensor, constant: bool = False) -> Gradients:
    """Backpropagate through all the steps; see [`Backend`][sb3_spiking.snn.execution.backends.Backend]."""
    membrane, equations = trace[0], dynamics.equations
    grad_current, grad_sum = th.empty_like(membrane[:0] if constant else membrane), th.empty_like(membrane[0])
    size = grad_sum.numel()
    # One sum for each program, added up in a fixed order.
    grad_learnt = None if dynamics.learnt is None else membrane.new_zeros(triton.cdiv(size, BLOCK))
    learnt_backward = equations.learnt_backward
    derivative, surrogate_constants = dynamics.slope()
    if membrane.numel() > 0:
        _launch(
            _backward_kernel,
            size,
            grad_spikes.contiguous(),
            trace,
            membrane if dynamics.learnt is None else dynamics.learnt.detach(),
            membrane if constant else grad_current,
            grad_sum,
            grad_sum if grad_learnt is None else grad_learnt,
            len(membrane),
            size,
            float(dynamics.threshold),
            _floats(dynamics.constants),
            _floats(surrogate_constants),
            charge_backward=_compiled(equations.charge_backward),
            margin=_compiled(equations.margin),
            margin_backward=_compiled(equations.margin_backward),
            reset=_compiled(equations.reset.forward),
            reset_backward=_compiled(equations.reset.backward),
            learnt_backward=_no_gradient if learnt_backward is None else _compiled(learnt_backward),
            derivative=_compiled(derivative),
            variables=equations.variables,
            kept=equations.kept,
            learns=dynamics.learnt is not None,
            through_reset=not dynamics.detach_reset,
            keep=not constant,
        )
    return Gradients(grad_current, grad_sum, None if grad_learnt is None else grad_learnt.sum())


def _floats(values: tuple[float, ...]) -> tuple[float, ...]:
    # An int would have another type. The learnt constant is not among them: reading it would wait for the GPU.
    return tuple(map(float, values))


def regular_spikes(activity: th.Tensor, spikes: th.Tensor, threshold: float, initial: float = 0.0) -> None:
    """Run soft-reset integrators; see [`Backend`][sb3_spiking.snn.execution.backends.Backend]."""
    size = activity.numel()
    if size > 0:
        _launch(_regular_kernel, size, activity, spikes, len(spikes), size, threshold, initial)


def try_out(device: th.device | str) -> None:
    """Run a neuron with known spikes, and raise a ``RuntimeError`` if they are wrong; Triton may raise anything."""
    # c: 0.4, 0.6, 0.7, 0.35; h: 0.4, 0.9 (fires), 0.7 (fires), 0.35
    neuron = Dynamics(CubaLif.equations_with("hard"), 0.5, (0.5, 0.75), None, False, Rect, 1.0)
    current = th.tensor([[0.4], [0.4], [0.4], [0.0]], device=device)
    spikes, trace = th.empty_like(current), th.empty_like(current)[None]
    forward(neuron, current, spikes, trace)
    gradient = backward(neuron, trace, th.ones_like(spikes)).current
    if spikes.flatten().tolist() != [0.0, 1.0, 1.0, 0.0] or not gradient.isfinite().all():
        raise RuntimeError(f"the kernels compute something else: spikes {spikes.flatten().tolist()}")
