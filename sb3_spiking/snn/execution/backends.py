"""
The backends of fused execution: numba on the CPU, Triton on GPUs.

A kernel runs the equations of a SpikingJelly node: its spikes equal the node's, its gradients agree to rounding. The
node itself runs what no kernel covers: other devices, nodes and surrogates, half precision.

numba is imported with the first network, not with the package, because it takes a third of a second. Triton is imported
with the first tensor on a GPU.
"""

from functools import cache, lru_cache
from typing import Protocol

import torch as th

from sb3_spiking.notices import warn
from sb3_spiking.snn.execution.dynamics import Dynamics, Gradients
from sb3_spiking.snn.observers import operations_are_traced

PLAIN_TENSORS = (th.Tensor, th.nn.Parameter)


def unsupported(tensor: th.Tensor) -> str | None:
    """
    Return the reason why no kernel runs on a tensor.

    Kernels take float32 and float64 on the CPU, and float32 on a GPU where Triton works. They take neither subclasses
    of tensors, which may compute differently, nor tensors whose operations are traced.

    :param tensor: any tensor
    :return: reason in words; None where kernels run
    """
    if type(tensor) not in PLAIN_TENSORS:
        return f"kernels know nothing of {type(tensor).__name__}"
    if operations_are_traced():
        return "torch's operations are traced, compiled or transformed"
    device, dtype = tensor.device.type, tensor.dtype
    if device == "cpu":
        return None if dtype in (th.float32, th.float64) else f"kernels for the CPU know nothing of {dtype}"
    if device != "cuda":
        return f"there are no kernels for {device}"
    if dtype != th.float32:
        return f"kernels for GPUs know nothing of {dtype}"
    problem = gpu_problem()
    return None if problem is None else f"the kernels for GPUs cannot be used: {problem}"


@lru_cache(maxsize=1)
def gpu_problem() -> str | None:
    """
    Try the kernels on the GPU, once in a process, and warn if they fail.

    An installed Triton is not enough: it needs a C compiler, and a GPU that it supports.

    :return: problem in words; None where the kernels run
    """
    try:
        from sb3_spiking.snn.execution import triton_loops

        triton_loops.try_out("cuda")
    except Exception as error:  # after any failure SpikingJelly's nodes still run
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        warn(
            f"Spiking neurons run operation by operation on this GPU, which is slow: the fused kernels cannot be used "
            f"({problem}). They need Triton (pip install triton) and a C compiler.",
        )
        return problem
    return None


class Backend(Protocol):
    """Functions of a backend; each runs all the time steps in one call."""

    def forward(
        self,
        dynamics: Dynamics,
        current: th.Tensor,
        spikes: th.Tensor,
        trace: th.Tensor | None = None,
        bias: th.Tensor | None = None,
    ) -> None:
        """
        Run neurons from rest.

        :param dynamics: neurons
        :param current: input current, contiguous, ``[T, N, ...]``, or ``[1, N, ...]`` where it is the same at each step
        :param spikes: memory for the spikes, ``[T, N, ...]``; may be that of the current
        :param trace: memory for the states before each reset, ``[kept, T, N, ...]``, whose first variable may share
            that of the current; None to keep no states
        :param bias: bias of the current, ``[features]``, of the last dimension
        """

    def backward(
        self, dynamics: Dynamics, trace: th.Tensor, grad_spikes: th.Tensor, constant: bool = False
    ) -> Gradients:
        """
        Backpropagate through all the steps.

        :param dynamics: neurons
        :param trace: trace of ``forward``
        :param grad_spikes: gradient of the spikes, ``[T, N, ...]``
        :param constant: whether the current was the same at each step: then only the sum of its gradients is returned
        :return: gradients of the current and of the learnt constant
        """

    def regular_spikes(self, activity: th.Tensor, spikes: th.Tensor, threshold: float, initial: float = 0.0) -> None:
        """
        Run soft-reset integrators.

        :param activity: input current of each step, contiguous, ``[N, ...]``
        :param spikes: memory for the spikes, ``[T, N, ...]``
        :param threshold: firing threshold
        :param initial: membrane before the first step
        """


def backend_of(tensor: th.Tensor) -> Backend:
    """
    Return the backend for a tensor.

    :param tensor: tensor without a reason in ``unsupported``
    """
    return _numba() if tensor.device.type == "cpu" else _triton()


@cache
def _numba() -> Backend:
    from sb3_spiking.snn.execution import numba_loops

    return numba_loops


@cache
def _triton() -> Backend:
    from sb3_spiking.snn.execution import triton_loops

    return triton_loops
