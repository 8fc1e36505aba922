"""
Products whose factors are rounded to bfloat16.

Spikes are exact in bfloat16, so that a current differs from that in float32 by the rounding of the weights alone. What
the sum is rounded to depends on the processor: torch's products in bfloat16 round it as well, those of float32 do not.
"""

from enum import Enum
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch as th

from sb3_spiking.snn.execution.compilation import jit
from sb3_spiking.snn.precisions import has_bfloat16

READ_ROUNDED_FROM = 32
"""Smallest number of rows and columns of factors that oneDNN surely rounds: torch gives some that have 16 or fewer to
another library."""


_SETTING = Lock()
"""Held by the thread that has changed torch's setting, so that no other one restores the changed value."""


class Rounding(Enum):
    """A way to compute products of rounded factors."""

    IN_FLOAT32 = "oneDNN rounds factors of float32 where it reads them, and sums in float32"
    BY_CASTS = "factors and product are tensors of bfloat16"
    OF_FACTORS = "factors are rounded, and multiplied in float32"


def rounding(factor: th.Tensor) -> Rounding:
    """
    Choose how products of rounded factors are computed.

    :param factor: a factor
    :return: the way; the same for all factors of the same type on the same device
    """
    if factor.device.type != "cpu":
        return Rounding.BY_CASTS
    if factor.dtype is th.float32 and reads_rounded():
        return Rounding.IN_FLOAT32
    return Rounding.OF_FACTORS if has_bfloat16() is False else Rounding.BY_CASTS


@cache
def reads_rounded() -> bool:
    """Tell whether oneDNN multiplies float32 as bfloat16 where that is allowed: with AMX it does."""
    # A sum of ones if the factors are rounded.
    factor = th.full((256, 256), 1.0 + 2.0**-10, dtype=th.float32)
    try:
        return bool(_read_rounded(factor, factor)[0, 0] == 256.0)
    except (AttributeError, RuntimeError):  # before torch 2.9 there is no such setting
        return False


def _read_rounded(a: th.Tensor, b: th.Tensor, out: th.Tensor | None = None) -> th.Tensor:
    """Return ``a @ b`` of float32, of which oneDNN may read the factors as bfloat16."""
    # The setting is the process's, so it is held no longer than this product.
    setting: Any = th.backends.mkldnn.matmul  # type: ignore[attr-defined]
    with _SETTING:
        before = setting.fp32_precision
        if before == "bf16":
            return th.matmul(a, b, out=out)
        setting.fp32_precision = "bf16"
        try:
            return th.matmul(a, b, out=out)
        finally:
            setting.fp32_precision = before


class _ReadRounded(th.autograd.Function):
    """Differentiable ``_read_rounded`` of matrices."""

    @staticmethod
    def forward(ctx: Any, a: th.Tensor, b: th.Tensor) -> th.Tensor:
        ctx.save_for_backward(a, b)
        return _read_rounded(a, b)

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        a, b = ctx.saved_tensors
        return _ReadRounded.apply(gradient, b.t()), _ReadRounded.apply(a.t(), gradient)


def rounded(tensor: th.Tensor, dtype: th.dtype) -> th.Tensor:
    """
    Return numbers rounded to a type, in their own type.

    :param tensor: any tensor
    :param dtype: type that the numbers are rounded to
    :return: rounded numbers, differentiable
    """
    return tensor.to(dtype).to(tensor.dtype)


def multiply(a: th.Tensor, b: th.Tensor, dtype: th.dtype | None) -> th.Tensor:
    """
    Return ``a @ b``.

    :param a: first factor, ``[..., K]``
    :param b: second factor, ``[K, columns]``
    :param dtype: type that the factors are rounded to, at most; None for no rounding
    :return: product, ``[..., columns]``, of the type of ``a``, differentiable any number of times
    """
    if dtype is None:
        return a @ b
    way = rounding(a)
    if way is Rounding.BY_CASTS:
        return (a.to(dtype) @ b.to(dtype)).to(a.dtype)
    if way is Rounding.OF_FACTORS:
        return rounded(a, dtype) @ rounded(b, dtype)
    return _ReadRounded.apply(a.flatten(0, -2), b).unflatten(0, a.shape[:-1])


def multiply_into(products: th.Tensor, inputs: th.Tensor, weight: th.Tensor, dtype: th.dtype) -> None:
    """
    Write ``inputs @ weight.T``, of rounded weights, without a graph.

    :param products: memory for the products, ``[R, neurons]``
    :param inputs: spikes or currents, ``[R, inputs]``
    :param weight: weights, ``[neurons, inputs]``
    :param dtype: type that the weights are rounded to, and inputs that are no spikes, at most
    """
    if rounding(inputs) is Rounding.BY_CASTS:
        products.copy_(multiply(inputs, weight.t(), dtype))
    elif rounding(inputs) is Rounding.OF_FACTORS:
        th.mm(rounded(inputs, dtype), rounded(weight, dtype).t(), out=products)
    else:
        small = min(len(inputs), *weight.shape) < READ_ROUNDED_FROM
        _read_rounded(inputs, (rounded(weight, dtype) if small else weight).t(), out=products)


@jit
def round_to_bfloat16(numbers, rounded):  # type: ignore[no-untyped-def]
    """Write float32 numbers rounded to bfloat16, ties to even, from one flat array into another."""
    bits, rounded_bits = numbers.view(np.uint32), rounded.view(np.uint32)
    for i in range(bits.size):
        x = bits[i]
        # Add half of the last place that stays, less a bit where that is even, and cut. NaN stays NaN.
        nearest = x + np.uint32(0x7FFF) + ((x >> np.uint32(16)) & np.uint32(1))
        kept = x | np.uint32(0x400000) if (x & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else nearest
        rounded_bits[i] = kept & np.uint32(0xFFFF0000)
