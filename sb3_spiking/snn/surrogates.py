"""
Surrogate gradients by name.

A spike is ``s = H(v - threshold)``, whose derivative is zero almost everywhere. The backward pass replaces it by a bump
around the threshold; only neurons with a membrane under the bump learn.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from spikingjelly.activation_based import surrogate as sj

from sb3_spiking.arguments import positive_float
from sb3_spiking.snn.elementwise import Elementwise, absolute, exp, where
from sb3_spiking.snn.observers import is_exporting

Constants = tuple[Any, ...]

SURROGATE_OF_FUNCTION: dict[type[sj.SurrogateFunctionBase], type["Surrogate"]] = {}
"""Type of a SpikingJelly surrogate -> the surrogate whose derivative it has."""


def claim(table: dict[Any, Any], key: type, cls: type) -> None:
    """
    Enter the class whose equations a type of SpikingJelly has.

    :param table: types of SpikingJelly -> classes
    :param key: type of SpikingJelly
    :param cls: class of a neuron or a surrogate
    :raises TypeError: if the type has another class already; the same class may be defined again, as in a notebook
    """
    owner = table.get(key, cls)
    if (owner.__module__, owner.__qualname__) != (cls.__module__, cls.__qualname__):
        raise TypeError(
            f"{key.__name__} has the equations of {owner.__module__}.{owner.__qualname__}; give {cls.__qualname__} a "
            f"type of its own, for example a subclass"
        )
    table[key] = cls


@dataclass(frozen=True)
class Surrogate(ABC):
    """
    A surrogate gradient: checked constants, and the SpikingJelly surrogate that they build.

    A subclass with ``function`` and the static methods ``derivative`` and ``constants`` runs in fused kernels. One
    without them runs as its SpikingJelly surrogate.
    """

    name: ClassVar[str]
    function: ClassVar[type[sj.SurrogateFunctionBase]]
    """Type of the surrogate that ``build`` returns, with one constant, ``alpha``."""

    derivative: ClassVar[Elementwise | None] = None
    """``(margin, constants)`` to the derivative of the spike, a plain elementwise function; margin is membrane minus
    threshold."""
    constants: ClassVar[Callable[..., tuple[float, ...]] | None] = None
    """``alpha`` to the constants of the derivative."""
    window: ClassVar[Callable[..., float] | None] = None
    """``alpha`` to the distance from the threshold at which the derivative ends, or has fallen to half of its peak;
    measured where it is None."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if {"function", "derivative", "constants"} <= cls.__dict__.keys():
            claim(SURROGATE_OF_FUNCTION, cls.function, cls)

    @abstractmethod
    def build(self) -> sj.SurrogateFunctionBase:
        """Build the SpikingJelly surrogate."""


@dataclass(frozen=True)
class Rect(Surrogate):
    """
    Rectangle of area 1: ``1 / (2 width)`` where ``|v - threshold| < width``, else 0.

    The default is PopSAN's (height 1 on ``|v - threshold| < 0.5``; Tang et al., 2020).

    :param width: half of the window, > 0
    """

    width: float = 0.5
    name: ClassVar[str] = "rect"
    function = sj.Rect

    def __post_init__(self) -> None:
        positive_float("surrogate width", self.width)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.Rect(alpha=0.5 / self.width)

    @staticmethod
    def constants(alpha: float) -> tuple[float, ...]:
        return alpha, 0.5 / alpha, 0.0

    @staticmethod
    def derivative(margin: Any, constants: Constants) -> Any:
        height, width, zero = constants
        return where(absolute(margin) < width, height, zero)

    @staticmethod
    def window(alpha: float) -> float:
        return 0.5 / alpha


@dataclass(frozen=True)
class Triangle(Surrogate):
    """
    Triangle of area 1: ``(1 - |v - threshold| / width) / width`` inside the window, else 0.

    :param width: half of the window, > 0
    """

    width: float = 1.0
    name: ClassVar[str] = "triangle"
    function = sj.PiecewiseQuadratic

    def __post_init__(self) -> None:
        positive_float("surrogate width", self.width)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.PiecewiseQuadratic(alpha=1.0 / self.width)

    @staticmethod
    def constants(alpha: float) -> tuple[float, ...]:
        return alpha, 1.0 / alpha, alpha * alpha, 0.0

    @staticmethod
    def derivative(margin: Any, constants: Constants) -> Any:
        height, width, slope, zero = constants
        distance = absolute(margin)
        return where(distance > width, zero, height - slope * distance)

    @staticmethod
    def window(alpha: float) -> float:
        return 1.0 / alpha


@dataclass(frozen=True)
class ATan(Surrogate):
    """
    Derivative of an arctangent: ``(slope / 2) / (1 + (pi / 2 slope (v - threshold))^2)`` (Fang et al., 2021).

    :param slope: steepness, > 0; larger is narrower
    """

    slope: float = 2.0
    name: ClassVar[str] = "atan"
    function = sj.ATan

    def __post_init__(self) -> None:
        positive_float("surrogate slope", self.slope)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.ATan(alpha=float(self.slope))

    @staticmethod
    def constants(alpha: float) -> tuple[float, ...]:
        return 0.5 * alpha, 0.5 * math.pi * alpha, 1.0

    @staticmethod
    def derivative(margin: Any, constants: Constants) -> Any:
        height, scale, one = constants
        z = scale * margin
        return height / (one + z * z)

    @staticmethod
    def window(alpha: float) -> float:
        return 2.0 / math.pi / alpha


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """
    Derivative of a sigmoid: ``slope s (1 - s)`` with ``s = sigmoid(slope (v - threshold))``.

    :param slope: steepness, > 0; larger is narrower
    """

    slope: float = 4.0
    name: ClassVar[str] = "sigmoid"
    function = sj.Sigmoid

    def __post_init__(self) -> None:
        positive_float("surrogate slope", self.slope)

    def build(self) -> sj.SurrogateFunctionBase:
        return sj.Sigmoid(alpha=float(self.slope))

    @staticmethod
    def constants(alpha: float) -> tuple[float, ...]:
        return alpha, 1.0

    @staticmethod
    def derivative(margin: Any, constants: Constants) -> Any:
        slope, one = constants
        sigmoid = one / (one + exp(-(slope * margin)))
        return slope * (one - sigmoid) * sigmoid

    @staticmethod
    def window(alpha: float) -> float:
        return 2.0 * math.log(1.0 + math.sqrt(2.0)) / alpha


SURROGATES: dict[str, type[Surrogate]] = {cls.name: cls for cls in (Rect, Triangle, ATan, Sigmoid)}


def window(function: Any) -> float:
    """
    Return the half-width of a surrogate's gradient: outside of it neurons hardly learn.

    :param function: SpikingJelly surrogate; None where there is none
    :return: distance from the threshold at which the gradient ends (rect, triangle) or has fallen to half of its peak
        (atan, sigmoid, others; at most 10 for others); infinity where it is unknown
    """
    if not isinstance(function, sj.SurrogateFunctionBase):
        return math.inf
    known = SURROGATE_OF_FUNCTION.get(type(function))
    if known is None or known.window is None:
        return _half_width(function)
    return known.window(float(function.alpha))


def _half_width(function: sj.SurrogateFunctionBase) -> float:
    """Find the distance at which the gradient has fallen to half of its peak."""
    with th.inference_mode(False), th.enable_grad():
        distances = th.linspace(0.0, 10.0, 10_001, requires_grad=True)
        try:
            (gradient,) = th.autograd.grad(function(distances).sum(), distances)
        except RuntimeError:  # it has no gradient
            return math.inf
    inside = gradient.abs() >= 0.5 * gradient.abs().max()
    return distances[inside].max().item()


def plain_spikes(function: sj.SurrogateFunctionBase, margin: th.Tensor) -> th.Tensor:
    """
    Return spikes, computed by elementwise operations of torch alone: tracers, compilers and transforms understand them.

    :param function: SpikingJelly surrogate
    :param margin: membrane minus threshold, of any shape
    :return: spikes, 0 or 1, of the same shape, with the surrogate's gradient; without one in an exported model
    """
    spikes = (margin >= 0).to(margin)
    if is_exporting() or not th.is_grad_enabled():
        return spikes
    primitive = function.primitive_function(margin, **function._sg_params)
    return spikes + (primitive - primitive.detach())
