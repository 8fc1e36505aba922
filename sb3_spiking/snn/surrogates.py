"""
Surrogate gradients by name.

A spike is ``s = H(v - threshold)``, whose derivative is zero almost everywhere. In the backward pass
it is replaced by a bump around the threshold; how wide the bump is decides which neurons learn.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from spikingjelly.activation_based import surrogate as sj

from sb3_spiking.arguments import positive_float
from sb3_spiking.snn.watching import is_exporting


@dataclass(frozen=True)
class Rect:
    """
    Rectangle of area 1: ``1 / (2 width)`` where ``|v - threshold| < width``, else 0.

    The default is PopSAN's (height 1 on ``|v - threshold| < 0.5``; Tang et al., 2020).

    :param width: half of the window, > 0
    """

    width: float = 0.5
    name: ClassVar[str] = "rect"

    def __post_init__(self) -> None:
        positive_float("surrogate width", self.width)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.Rect(alpha=0.5 / self.width)


@dataclass(frozen=True)
class Triangle:
    """
    Triangle of area 1: ``(1 - |v - threshold| / width) / width`` inside the window, else 0.

    :param width: half of the window, > 0
    """

    width: float = 1.0
    name: ClassVar[str] = "triangle"

    def __post_init__(self) -> None:
        positive_float("surrogate width", self.width)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.PiecewiseQuadratic(alpha=1.0 / self.width)


@dataclass(frozen=True)
class ATan:
    """
    Derivative of an arctangent: ``(slope / 2) / (1 + (pi / 2 slope (v - threshold))^2)`` (Fang et al., 2021).

    :param slope: > 0; larger is steeper and narrower
    """

    slope: float = 2.0
    name: ClassVar[str] = "atan"

    def __post_init__(self) -> None:
        positive_float("surrogate slope", self.slope)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.ATan(alpha=float(self.slope))


@dataclass(frozen=True)
class Sigmoid:
    """
    Derivative of a sigmoid: ``slope s (1 - s)`` with ``s = sigmoid(slope (v - threshold))``.

    :param slope: > 0; larger is steeper and narrower
    """

    slope: float = 4.0
    name: ClassVar[str] = "sigmoid"

    def __post_init__(self) -> None:
        positive_float("surrogate slope", self.slope)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.Sigmoid(alpha=float(self.slope))


Surrogate = Rect | Triangle | ATan | Sigmoid

SURROGATES: dict[str, type[Surrogate]] = {cls.name: cls for cls in (Rect, Triangle, ATan, Sigmoid)}


_WINDOW_TIMES_ALPHA = {
    sj.Rect: 0.5,
    sj.PiecewiseQuadratic: 1.0,
    sj.ATan: 2.0 / math.pi,
    sj.Sigmoid: 2.0 * math.log(1.0 + math.sqrt(2.0)),
}


def window(function: Any) -> float:
    """
    Tell how near its threshold a membrane must be for its neuron to learn.

    :param function: any surrogate, as it is now; None where there is none
    :return: distance from the threshold at which the gradient ends (rect, triangle) or has fallen to half of its peak
        (atan, sigmoid and those of others; at most 10 of these); infinity where it cannot be told
    """
    if not isinstance(function, sj.SurrogateFunctionBase):
        return math.inf
    scale = _WINDOW_TIMES_ALPHA.get(type(function))
    return _half_width(function) if scale is None else scale / float(function.alpha)


def _half_width(function: sj.SurrogateFunctionBase) -> float:
    """Look where the gradient falls to half of its peak."""
    with th.enable_grad():
        distances = th.linspace(0.0, 10.0, 10_001, requires_grad=True)
        (gradient,) = th.autograd.grad(function(distances).sum(), distances)
    inside = gradient.abs() >= 0.5 * gradient.abs().max()
    return distances[inside].max().item()


def plain_spikes(function: sj.SurrogateFunctionBase, margin: th.Tensor) -> th.Tensor:
    """
    Fire by elementwise operations of torch alone, which every tracer, compiler and transform understands.

    :param function: the surrogate
    :param margin: membrane minus threshold, of any shape
    :return: spikes, 0 or 1, of the same shape; their gradient is the surrogate's, except in a model that is traced or
        exported, which only acts
    """
    spikes = (margin >= 0).to(margin)
    if is_exporting() or not th.is_grad_enabled():
        return spikes
    primitive = function.primitive_function(margin, **function._sg_params)
    return spikes + (primitive - primitive.detach())
