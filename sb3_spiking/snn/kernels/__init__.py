"""
Fused execution of SpikingJelly's neurons: by numba on the CPU, by Triton on GPUs.

A kernel is another execution of a node's equations, never a different neuron: spikes equal the
node's own, gradients agree to rounding. What no kernel covers (other devices, other nodes or
surrogates, half precision) is run by the node itself. Tracers and compilers see nothing of a kernel: for them the
equations run as plain operations of torch (``unrolled``).

numba is imported with the first network rather than with the package: it takes a third of a second. Triton is imported
with the first tensor on a GPU.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from spikingjelly.activation_based import neuron
from torch.nn import functional

from sb3_spiking.notices import warn
from sb3_spiking.snn.kernels.equations import Charge, Equations, charge_constants
from sb3_spiking.snn.kernels.unrolled import SURROGATES
from sb3_spiking.snn.nodes import DynamicNode
from sb3_spiking.snn.watching import operations_are_traced

if TYPE_CHECKING:
    from spikingjelly.activation_based.neuron import BaseNode

__all__ = [
    "Equations",
    "digits",
    "dynamics_of",
    "equations_of",
    "fire",
    "fire_connected",
    "gpu_problem",
    "product",
    "read",
    "regular_spikes",
    "signed_rate",
    "supports",
    "supports_codes",
    "warm_up",
]

_KNOWN = (neuron.CUBALIFNode, neuron.LIFNode, neuron.ParametricLIFNode, neuron.IFNode, DynamicNode)
PLAIN_TENSORS = (th.Tensor, th.nn.Parameter)
_SHAPES = {function: shape for shape, function in SURROGATES.items()}


def supports(tensor: th.Tensor) -> bool:
    """
    Tell whether the neurons' kernels run on this tensor.

    :param tensor: any tensor
    :return: True for float32 and float64 on the CPU, for float32 on a GPU where Triton works; never while torch's
        operations are traced, nor for subclasses of tensors, which compute in a way of their own
    """
    if type(tensor) not in PLAIN_TENSORS or operations_are_traced():
        return False
    if tensor.device.type == "cpu":
        return tensor.dtype in (th.float32, th.float64)
    return tensor.device.type == "cuda" and tensor.dtype == th.float32 and gpu_problem() is None


def supports_codes(tensor: th.Tensor) -> bool:
    """
    Tell whether the kernels of digits and signed rates run on this tensor.

    :param tensor: any tensor
    :return: True for float32 and float64 on the CPU
    """
    return tensor.device.type == "cpu" and supports(tensor)


@lru_cache(maxsize=1)
def gpu_problem() -> str | None:
    """
    Try the kernels on the GPU, once per process.

    That Triton is installed is not enough: it needs a C compiler, and a GPU that it knows.

    :return: None if they run, else what went wrong, of which a warning tells as well
    """
    try:
        from sb3_spiking.snn.kernels import gpu

        gpu.try_out("cuda")
    except Exception as error:  # whatever it is, SpikingJelly's nodes still run
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        warn(
            f"Spiking neurons run operation by operation on this GPU, which is slow: the fused kernels cannot be used "
            f"({problem}). They need Triton (pip install triton) and a C compiler.",
        )
        return problem
    return None


def equations_of(node: "BaseNode", current: th.Tensor) -> Equations | None:
    """
    Read off a node what its fused kernel needs.

    :param node: a SpikingJelly node; its attributes are read anew at each call
    :param current: the input current that will be given to the kernel
    :return: the equations, or None where the node must run itself
    """
    return read(node) if supports(current) else None


def read(node: "BaseNode") -> Equations | None:
    """
    Read the equations of a node.

    :param node: a SpikingJelly node; its attributes are read anew at each call
    :return: the equations, or None where a node or its surrogate is not among those that the kernels know
    """
    surrogate = _surrogate_of(node)
    shape = _SHAPES.get(type(surrogate))
    charged = _charge_of(node)
    if shape is None or charged is None:
        return None
    charge, constants, leak = charged
    return Equations(
        charge,
        constants=constants,
        leak=leak,
        threshold=node.v_threshold,
        soft_reset=node.v_reset is None,
        detach_reset=node.detach_reset,
        surrogate=shape,
        alpha=float(surrogate.alpha),
    )


def dynamics_of(nodes: "Sequence[BaseNode]") -> np.ndarray | None:
    """
    Read off the nodes of several layers what the acting kernel needs.

    :param nodes: SpikingJelly nodes; their attributes are read anew at each call
    :return: a row for each layer: charge, its five constants, threshold, whether the reset is soft; None where a node
        must run itself
    """
    rows = []
    for node in nodes:
        charged = _charge_of(node)
        if charged is None:
            return None
        charge, constants, leak = charged
        rows.append((int(charge), *charge_constants(constants, leak), node.v_threshold, node.v_reset is None))
    return _array(tuple(rows))


@lru_cache(maxsize=256)
def _array(rows: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """Making an array takes longer than reading the nodes, which hardly ever change."""
    return np.array(rows, np.float64)


def _surrogate_of(node: "BaseNode") -> Any:
    # As an attribute it would take 3 us to find, in each layer of each decision.
    return node._modules.get("surrogate_function")


def _charge_of(node: "BaseNode") -> tuple[Charge, tuple[float, ...], th.Tensor | None] | None:
    """
    Return the charge, its constants and its learnt leak.

    Exact types: a subclass may have other dynamics. A node that is to keep its membranes, or to compute in a precision
    of its own, runs itself.
    """
    kind = type(node)
    if kind not in _KNOWN or not getattr(_surrogate_of(node), "spiking", False):
        return None
    if node.__dict__.get("_store_v_seq") or node.__dict__.get("_neuron_precision") is not None:
        return None
    if node.v_reset not in (None, 0.0) and kind is not DynamicNode:
        return None
    if kind is neuron.CUBALIFNode:
        return Charge.CUBA, (node.c_decay, node.v_decay), None
    if kind is neuron.LIFNode and not node.decay_input:
        return Charge.LEAK, (node.tau,), None
    if kind is neuron.ParametricLIFNode and not node.decay_input:
        return Charge.LEARNT_LEAK, (), node.w.sigmoid()
    if kind is neuron.IFNode:
        return Charge.INTEGRATE, (), None
    if kind is DynamicNode:
        return Charge.DYNAMIC, (node.c_decay, node.theta_v, node.theta_u, node.v_reset, node.theta_s), None
    return None


def fire(equations: Equations, current: th.Tensor, time_steps: int | None = None) -> th.Tensor:
    """
    Run a layer of neurons from rest over all the time steps; differentiable any number of times.

    :param equations: the neuron, see [`equations_of`][sb3_spiking.snn.kernels.equations_of]
    :param current: input current, ``[T, N, ...]``, or ``[1, N, ...]`` where it is the same at each step, float32 or
        float64 on the CPU, float32 on a GPU
    :param time_steps: ``T``; None: as many as the current has
    :return: spikes, 0 or 1, ``[T, N, ...]``, of the same type and with the channels of images where they lie
    """
    from sb3_spiking.snn.kernels import training

    if _channels_lie_last(current):
        return fire(equations, current.movedim(2, -1), time_steps).movedim(-1, 2)
    return training.fire(equations, current, len(current) if time_steps is None else time_steps)


def _channels_lie_last(current: th.Tensor) -> bool:
    """Tell whether images ``[T, N, C, H, W]`` lie in memory as ``[T, N, H, W, C]``; neurons do not mind the order."""
    return current.dim() == 5 and not current.is_contiguous() and current.movedim(2, -1).is_contiguous()


def fire_connected(
    equations: Equations,
    inputs: th.Tensor,
    weight: th.Tensor,
    bias: th.Tensor,
    activity: th.Tensor | None = None,
    dtype: th.dtype | None = None,
) -> th.Tensor:
    """
    Run a fully connected layer from rest over all the time steps; differentiable any number of times.

    The current of the neurons is never seen: its memory becomes that of the membranes or of the spikes.

    :param equations: the neuron, see [`equations_of`][sb3_spiking.snn.kernels.equations_of]
    :param inputs: spikes or anything else, ``[T, N, inputs]``, float32 or float64 on the CPU, float32 on a GPU
    :param weight: ``[neurons, inputs]``
    :param bias: ``[neurons]``
    :param activity: ``[N, inputs]``, what receives the gradient of the inputs of all the steps in their place
        (straight-through): one product instead of T
    :param dtype: what the products are rounded to; None: not at all
    :return: spikes, 0 or 1, ``[T, N, neurons]``
    """
    from sb3_spiking.snn.kernels import training

    return training.fire_connected(equations, inputs, weight, bias, activity, dtype)


def product(inputs: th.Tensor, weight: th.Tensor, dtype: th.dtype | None = None) -> th.Tensor:
    """
    Multiply as ``fire_connected`` does, to the last bit; differentiable any number of times.

    :param inputs: spikes or anything else, ``[..., inputs]``
    :param weight: ``[neurons, inputs]``
    :param dtype: what factors and product are rounded to; None: not at all
    :return: ``inputs @ weight.T``, ``[..., neurons]``
    """
    if dtype is None and not supports(inputs):
        return functional.linear(inputs, weight)
    from sb3_spiking.snn.kernels import products

    return products.differentiable_product(inputs, weight, dtype)


def regular_spikes(activity: th.Tensor, time_steps: int, threshold: float) -> th.Tensor:
    """
    Turn constant activities into regular spike trains with soft-reset integrators.

    :param activity: input current of each step, ``[N, features]``, float32 or float64 on the CPU, float32 on a GPU
    :param time_steps: number of steps ``T``
    :param threshold: integrators fire at ``v >= threshold``, which is then subtracted
    :return: spikes, 0 or 1, ``[T, N, features]``; not differentiable
    """
    from sb3_spiking.snn.kernels import training

    return training.regular_spikes(activity, time_steps, threshold)


def digits(numbers: th.Tensor, worth: Sequence[float], thresholds: Sequence[float], signed: bool) -> th.Tensor:
    """
    Write numbers as digits, the largest first; not differentiable.

    :param numbers: ``[N, ...]``, float32 or float64 on the CPU
    :param worth: what the digit of each step is worth, ``T`` numbers
    :param thresholds: from which remainder on it is 1
    :param signed: whether it is -1 below minus the threshold, after a digit of 1
    :return: digits, ``[T, N, ...]``
    """
    from sb3_spiking.snn.kernels import codes

    return codes.digits(numbers, worth, thresholds, signed)


def signed_rate(drive: th.Tensor, initial: th.Tensor) -> th.Tensor:
    """
    Run integrators with a threshold of 1 that send -1 below 0 if they have sent more than they took back.

    :param drive: what they integrate, ``[T, N, ...]``, float32 or float64 on the CPU; there is no gradient
    :param initial: membranes to begin with, ``[N, ...]``, of the same type
    :return: spikes, ``[T, N, ...]``
    """
    from sb3_spiking.snn.kernels import codes

    return codes.signed_rate(drive, initial)


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache, so that no later step has to wait for it."""
    from sb3_spiking.snn.kernels import cpu

    cpu.warm_up()
