"""
Convolutions of spikes that compute the changes from step to step.

Most neurons that fire at a step fire at the next one too. With the current ``x``, its gradient ``g`` and spikes ``s``::

    x[t] = x[t - 1] + W * (s[t] - s[t - 1])
    dL/dW = sum over t of G[t] * (s[t] - s[t - 1])         G[t] = g[t] + g[t + 1] + ... + g[T]

Event-driven execution: each change adds its row of the weights, times 1 or -1, to the currents that it reaches, and the
gradient of the weights is computed likewise. ``dL/ds`` is dense, and left to torch.

Images have channels-last memory. What a row of a convolution's kernel sees is then one piece of memory, and so are its
weights ``[kernel width, channels, outputs]``, which fit the first-level cache.
"""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from torch.nn import functional

from sb3_spiking.snn.execution import lanes
from sb3_spiking.snn.execution.backends import PLAIN_TENSORS
from sb3_spiking.snn.execution.compilation import jit

MAX_DENSITY = 0.25
"""Largest share of neurons that change at a step, from 0 before the first one. With NatureCNN's second and third
convolution, the products take as long as torch's at 0.3, the gradients at 0.35 (one core of an Emerald Rapids)."""

GRAIN = 8
"""Number of neurons whose changes are counted together, a divisor of the channels."""

IMAGES = 8
"""Number of images whose gradients fit the second-level cache."""

SIGNS = {dtype: np.array([1, -1], str(dtype).removeprefix("torch.")) for dtype in (th.float32, th.float64)}
"""Signs of a change, for each type: of neurons that begin to fire, and of those that cease."""


class _Sizes(NamedTuple):
    """Sizes of a convolution."""

    steps: int
    images: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    outputs: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int


class Changes:
    """
    List of the neurons that begin or cease to fire, in the order of memory.

    :param changes: twice the place of each in memory, plus 1 for those that cease
    :param starts: number of changes before each ``GRAIN`` neurons
    """

    def __init__(self, changes: np.ndarray, starts: np.ndarray) -> None:
        self.changes = changes
        self.starts = starts

    @classmethod
    def of(cls, spikes: th.Tensor, time_steps: int, density: float = 1.0) -> "Changes | None":
        """
        List the changes.

        :param spikes: spikes, contiguous, ``[T * N, ...]``, at each step a multiple of 64
        :param time_steps: number of steps ``T``
        :param density: largest share of neurons that change
        :return: list; None if more change, or a value is neither 0 nor 1
        """
        changes = th.empty(int(density * spikes.numel()) + lanes.BITS, dtype=th.int32).numpy()
        starts = np.empty(spikes.numel() // GRAIN + 1, np.int32)
        flat = _flat(spikes)
        return cls(changes, starts) if _list(flat, flat.size // time_steps, lanes.SET_BITS, changes, starts) else None


def few_changes(
    images: th.Tensor, time_steps: int, weight: th.Tensor, bias: th.Tensor, stride: tuple[int, ...]
) -> Changes | None:
    """
    List the changes of spikes where a convolution that computes these alone is faster than torch's.

    :param images: spikes or currents, ``[T * N, channels, height, width]``, channels-last
    :param time_steps: number of steps ``T``
    :param weight: weights, ``[outputs, channels, kernel height, kernel width]``
    :param bias: biases, ``[outputs]``
    :param stride: vertical and horizontal stride
    :return: list; None where torch is faster, and for currents
    """
    # Several threads share torch's convolution, but not this one.
    if th.get_num_threads() > 1 or not _are_covered(images, time_steps, weight, bias):
        return None
    return Changes.of(images.detach().movedim(1, -1), time_steps, MAX_DENSITY)


def _are_covered(images: th.Tensor, time_steps: int, weight: th.Tensor, bias: th.Tensor) -> bool:
    """Tell whether the kernels, which check nothing, cover these; torch raises for shapes that do not fit."""
    dtype = images.dtype
    plain = all(type(tensor) in PLAIN_TENSORS and tensor.dtype is dtype for tensor in (weight, bias))
    plain = plain and {tensor.device.type for tensor in (images, weight, bias)} == {"cpu"}
    fits = weight.shape[1] == images.shape[1] and bias.shape == weight.shape[:1]
    fits = fits and all(size >= kernel for size, kernel in zip(images.shape[2:], weight.shape[2:], strict=True))
    # Changes are read 64 neurons at a time, at a step and at the one before.
    whole = images.shape[1] % GRAIN == images.numel() % (time_steps * lanes.BITS) == 0 < images.numel() < 2**30
    whole = whole and len(weight) * weight.element_size() % lanes.BYTES == 0
    return plain and fits and whole and dtype in SIGNS and not th.is_autocast_enabled("cpu")


class _Convolution(th.autograd.Function):
    """Convolution of listed changes."""

    @staticmethod
    def forward(
        ctx: Any,
        images: th.Tensor,
        weight: th.Tensor,
        bias: th.Tensor,
        stride: tuple[int, int],
        time_steps: int,
        changes: Changes,
    ) -> th.Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.changes, ctx.sizes = stride, changes, _sizes(images, weight, stride, time_steps)
        return _currents(changes, weight.detach(), bias.detach(), ctx.sizes)

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        # Torch's gradients are differentiable again.
        torchs = wanted if th.is_grad_enabled() else [wanted[0], False, False]
        grad_images = grad_weight = grad_bias = None
        if any(torchs):
            convolution = (ctx.stride, [0, 0], [1, 1], False, [0, 0], 1)
            grad_images, grad_weight, grad_bias = th.ops.aten.convolution_backward(
                gradient, images, weight, [len(weight)], *convolution, torchs
            )
        if wanted[1] and not torchs[1]:
            grad_weight = _weight_gradient(gradient, ctx.changes, ctx.sizes)
        if wanted[2] and not torchs[2]:
            grad_bias = gradient.sum(dim=(0, 2, 3))
        return grad_images, grad_weight, grad_bias, None, None, None


def convolution(
    images: th.Tensor, time_steps: int, weight: th.Tensor, bias: th.Tensor, stride: tuple[int, int]
) -> th.Tensor:
    """
    Return the convolution of spikes or currents, without padding; differentiable any number of times.

    :param images: spikes or currents, ``[T * N, channels, height, width]``, channels-last
    :param time_steps: number of steps ``T``
    :param weight: weights, ``[outputs, channels, kernel height, kernel width]``
    :param bias: biases, ``[outputs]``
    :param stride: vertical and horizontal stride
    :return: currents, ``[T * N, outputs, height, width]``
    """
    changes = few_changes(images, time_steps, weight, bias, stride)
    if changes is None:
        return functional.conv2d(images, weight, bias, stride)
    if not th.is_grad_enabled():
        return _currents(changes, weight, bias, _sizes(images, weight, stride, time_steps))
    return _Convolution.apply(images, weight, bias, stride, time_steps, changes)


def _sizes(images: th.Tensor, weight: th.Tensor, stride: tuple[int, int], time_steps: int) -> _Sizes:
    rows, channels, height, width = images.shape
    outputs, _, kernel_height, kernel_width = weight.shape
    out_height, out_width = (height - kernel_height) // stride[0] + 1, (width - kernel_width) // stride[1] + 1
    image = (height, width, channels, out_height, out_width, outputs)
    return _Sizes(time_steps, rows // time_steps, *image, kernel_height, kernel_width, *stride)


def _currents(changes: Changes, weight: th.Tensor, bias: th.Tensor, sizes: _Sizes) -> th.Tensor:
    """Return the currents, ``[T * N, outputs, height, width]``, without a graph."""
    images = (sizes.steps * sizes.images, sizes.out_height, sizes.out_width, sizes.outputs)
    currents = th.empty(images, dtype=weight.dtype)
    table, numbers = weight.detach().permute(2, 3, 1, 0).contiguous(), bias.detach().contiguous()
    signs = SIGNS[weight.dtype]
    _convolve(changes.changes, changes.starts, signs, _flat(table), _flat(numbers), _flat(currents), sizes)
    return currents.movedim(-1, 1)


def _weight_gradient(gradient: th.Tensor, changes: Changes, sizes: _Sizes) -> th.Tensor:
    """Return the gradient of the weights, ``[outputs, channels, kernel height, kernel width]``."""
    # Sums of the gradients of a step and all later ones.
    later = gradient.movedim(1, -1).clone(memory_format=th.contiguous_format)
    steps = later.unflatten(0, (sizes.steps, sizes.images)).unbind()
    for t in range(sizes.steps - 2, -1, -1):
        steps[t].add_(steps[t + 1])
    sums = later.new_zeros(sizes.kernel_height, sizes.kernel_width, sizes.channels, sizes.outputs)
    _correlate(changes.changes, changes.starts, SIGNS[later.dtype], _flat(later), _flat(sums), sizes)
    return sums.permute(3, 2, 0, 1)


@jit
def _list(spikes, step, set_bits, changes, starts):  # type: ignore[no-untyped-def]
    """Fill in ``Changes`` of steps of ``step`` neurons; return whether all values are spikes and there was room."""
    n, byte = np.int64(0), np.uint64(255)
    room = changes.size - lanes.BITS
    for first in range(0, spikes.size, lanes.BITS):
        # Read 64 neurons as bits, at this step and at the one before.
        now = lanes.present(spikes, first)
        if n > room or now & lanes.not_one(spikes, first):
            return False
        before = lanes.present(spikes, first - step) if first >= step else np.uint64(0)
        bits = now ^ before
        # Count the bits of each byte and of those before it: pairs, fours, bytes, then all the sums at once.
        counts = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
        counts = (counts & np.uint64(0x3333333333333333)) + ((counts >> np.uint64(2)) & np.uint64(0x3333333333333333))
        counts = ((counts + (counts >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)) * np.uint64(0x0101010101010101)
        up_to = counts << np.uint64(8)
        # List the neurons that change, byte by byte.
        for k in range(8):
            shift = np.uint64(8 * k)
            place = n + np.int64((up_to >> shift) & byte)
            starts[first // 8 + k] = place
            changed, fired = np.int64((bits >> shift) & byte), np.int64((before >> shift) & byte)
            lanes.list_changes(changes, place, set_bits, changed, fired, first + 8 * k)
        n += np.int64(counts >> np.uint64(56))
    starts[spikes.size // 8] = n
    return True


@jit
def _convolve(changes, starts, signs, table, bias, currents, sizes):  # type: ignore[no-untyped-def]
    """Compute ``x[t] = x[t - 1] + W * changes``, on flat arrays; ``x`` is the bias before the first step."""
    steps, images, height, width, channels = sizes[:5]
    out_height, out_width, outputs, kernel_height, kernel_width, stride_height, stride_width = sizes[5:]
    step = images * out_height * out_width * outputs
    for image in range(images):
        for t in range(steps):
            row = t * images + image
            for k in range(kernel_height):
                for y in range(out_height):
                    for x in range(out_width):
                        # Memory that row k of the kernel sees, its changes, and their first weights.
                        seen = ((row * height + y * stride_height + k) * width + x * stride_width) * channels
                        first = np.uint64(starts[seen // 8])
                        last = np.uint64(starts[(seen + kernel_width * channels) // 8])
                        weights = (k * kernel_width * channels - seen) * outputs
                        place = ((row * out_height + y) * out_width + x) * outputs
                        for o in range(0, outputs, lanes.BYTES // table.itemsize):
                            # Sum of the rows of the kernel before, or else the current of the step before.
                            if k > 0:
                                total = lanes.load(currents, place + o)
                            elif t > 0:
                                total = lanes.load(currents, place + o - step)
                            else:
                                total = lanes.load(bias, o)
                            for n in range(first, last):
                                change = changes[n]
                                added = lanes.load(table, (change >> 1) * outputs + (weights + o))
                                total = lanes.add_scaled(total, added, signs[np.uint64(change & 1)])
                            lanes.store(total, currents, place + o)


@jit
def _correlate(changes, starts, signs, later, sums, sizes):  # type: ignore[no-untyped-def]
    """Add ``G[t] * changes`` to the gradient of the weights, on flat arrays."""
    steps, images, height, width, channels = sizes[:5]
    out_height, out_width, outputs, kernel_height, kernel_width, stride_height, stride_width = sizes[5:]
    rows = steps * images
    for start in range(0, rows, IMAGES):
        for k in range(kernel_height):
            for row in range(start, min(rows, start + IMAGES)):
                for y in range(out_height):
                    for x in range(out_width):
                        # Memory that row k of the kernel sees, its changes, and their first weights.
                        seen = ((row * height + y * stride_height + k) * width + x * stride_width) * channels
                        first = np.uint64(starts[seen // 8])
                        last = np.uint64(starts[(seen + kernel_width * channels) // 8])
                        weights = (k * kernel_width * channels - seen) * outputs
                        place = ((row * out_height + y) * out_width + x) * outputs
                        for o in range(0, outputs, lanes.BYTES // later.itemsize):
                            gradient = lanes.load(later, place + o)
                            for n in range(first, last):
                                change = changes[n]
                                weight = (change >> 1) * outputs + (weights + o)
                                total = lanes.add_scaled(
                                    lanes.load(sums, weight), gradient, signs[np.uint64(change & 1)]
                                )
                                lanes.store(total, sums, weight)


def _flat(tensor: th.Tensor) -> np.ndarray:
    return tensor.numpy().reshape(-1)


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache."""
    images = th.zeros(1, 8, 8, 8).contiguous(memory_format=th.channels_last)
    weight = th.zeros(64, 8, 8, 8)
    changes = Changes.of(images.movedim(1, -1), 1)
    if changes is not None:
        sizes = _sizes(images, weight, (1, 1), 1)
        _Convolution.apply(images, weight, weight[:, 0, 0, 0].clone(), (1, 1), 1, changes)
        _weight_gradient(images.new_zeros(1, 64, 1, 1), changes, sizes)
