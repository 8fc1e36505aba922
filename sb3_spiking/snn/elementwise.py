"""
Elementwise functions for the equations of neurons and surrogates, beside ``+``, ``-``, ``*`` and comparisons.

On tensors these run themselves; numba and Triton replace them by their own. A number that is written into an equation
is float64 to numba, which is correct but slower: pass it as a constant. Triton reads annotations, so those of arguments
must be plain names, such as ``Any`` or ``State``.
"""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import torch as th

Elementwise = Callable[..., Any]
"""Plain function of numbers, blocks or tensors that have one shape."""


def where(condition: Any, a: Any, b: Any) -> Any:
    """Select ``a`` where the condition holds, else ``b``."""
    return th.where(condition, a, b)


def divide(a: Any, b: Any) -> Any:
    """Return the correctly rounded quotient, which Triton's ``/`` is not."""
    return a / b


def absolute(x: Any) -> Any:
    """Return the absolute value."""
    return abs(x)


def exp(x: Any) -> Any:
    """Return the exponential."""
    return th.exp(x)


def compiled_by(compiler: Callable[[FunctionType], Any], own: Mapping[Any, Any], function: Any) -> Any:
    """
    Compile a plain elementwise function, and the plain functions that it calls.

    :param compiler: compiler of a backend
    :param own: functions of this module -> the backend's replacements
    :param function: equation of a neuron or derivative of a surrogate
    :return: compiled function
    :raises TypeError: if a function is a closure
    """
    if function.__closure__:
        raise TypeError(f"{function.__qualname__} is a closure; an elementwise function uses constants and globals")
    scope = function.__globals__
    names = {name: scope[name] for name in ("__builtins__", "__name__", *function.__code__.co_names) if name in scope}
    called = {
        name: own[value] if value in own else compiled_by(compiler, own, value)
        for name, value in names.items()
        if isinstance(value, FunctionType)
    }
    # The copy sees the names that its code uses, without those of annotations.
    copy = FunctionType(function.__code__, {**names, **called}, function.__name__, function.__defaults__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return compiler(copy)
