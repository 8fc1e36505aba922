"""
The equations of a neuron, as plain elementwise functions.

The state of a neuron is a tuple of variables, the membrane first. Each time step is::

    state  = charge(state, x, constants)                      the membrane before the reset
    margin = margin(state, threshold, constants)              membrane minus threshold
    spike  = 1 if margin >= 0 else 0
    state  = reset(state, spike, threshold, constants)

The same functions run in numba's loops on the CPU, in Triton's kernels on GPUs, and on tensors of torch. They use
``+``, ``-``, ``*``, comparisons and the functions of [`elementwise`][sb3_spiking.snn.elementwise], and may call each
other.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sb3_spiking.snn.elementwise import Elementwise

State = tuple[Any, ...]
"""One value per variable: a number in numba, a block in Triton, a tensor in torch."""


class Reset(NamedTuple):
    """
    The effect of a spike on the state.

    :ivar forward: ``(state, spike, threshold, constants)`` to the state after the reset
    :ivar backward: ``(gradient, state, spike, threshold, constants)`` to the gradients of the state before the reset
        and of the spike; ``gradient`` is that of the state after the reset
    """

    forward: Elementwise
    backward: Elementwise


@dataclass(frozen=True, eq=False)  # compiled loops are cached by object: one per neuron and reset
class Equations:
    """
    The equations of a neuron.

    Gradients are tuples like the state. The forward pass keeps the first ``kept`` variables of the state before each
    reset for the backward pass, where the others read as 0.

    :param charge: ``(state, x, constants)`` to the state before the reset; ``x`` is the input current
    :param charge_backward: ``(gradient, before, constants)`` to the gradients of ``x`` and of the state before the
        step; ``before`` is that state
    :param margin: ``(state, threshold, constants)`` to membrane minus threshold
    :param margin_backward: ``(gradient, margin_gradient, constants)`` to the gradient of the state, with that of the
        margin added
    :param reset: effect of a spike on the state
    :param learnt_backward: ``(gradient, before, constants)`` to the gradient of the learnt constant, which is the last
        of the constants; None without a learnt constant
    :param variables: number of variables of the state
    :param kept: number of variables that are kept for the backward pass, counted from the first
    :param reset_variables: number of variables that the reset changes, counted from the first
    """

    charge: Elementwise
    charge_backward: Elementwise
    margin: Elementwise
    margin_backward: Elementwise
    reset: Reset
    learnt_backward: Elementwise | None
    variables: int
    kept: int
    reset_variables: int


def margin(state: State, threshold: Any, constants: State) -> Any:
    """Return membrane minus threshold."""
    return state[0] - threshold


def margin_backward(gradient: State, margin_gradient: Any, constants: State) -> State:
    """Add the gradient of the margin to that of the membrane."""
    return (gradient[0] + margin_gradient,) + gradient[1:]  # noqa: RUF005 (Triton unpacks no tuples)


def hard_reset(state: State, spike: Any, threshold: Any, constants: State) -> State:
    """Set the membrane to 0 after a spike: ``v = h (1 - s)``."""
    return (state[0] - spike * state[0],) + state[1:]  # noqa: RUF005


def hard_reset_backward(
    gradient: State, state: State, spike: Any, threshold: Any, constants: State
) -> tuple[State, Any]:
    """Return ``dL/dh = (1 - s) dL/dv`` and ``dL/ds = -h dL/dv``."""
    return (gradient[0] - spike * gradient[0],) + gradient[1:], -(gradient[0] * state[0])  # noqa: RUF005


def soft_reset(state: State, spike: Any, threshold: Any, constants: State) -> State:
    """Subtract the threshold after a spike: ``v = h - threshold s``."""
    return (state[0] - spike * threshold,) + state[1:]  # noqa: RUF005


def soft_reset_backward(
    gradient: State, state: State, spike: Any, threshold: Any, constants: State
) -> tuple[State, Any]:
    """Return ``dL/dh = dL/dv`` and ``dL/ds = -threshold dL/dv``."""
    return gradient, -(gradient[0] * threshold)


HARD = Reset(hard_reset, hard_reset_backward)
SOFT = Reset(soft_reset, soft_reset_backward)
