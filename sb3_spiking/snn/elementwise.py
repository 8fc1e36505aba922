"""
Elementwise functions for the equations of neurons and surrogates, beside ``+``, ``-``, ``*`` and comparisons.

On tensors these run; numba and Triton put their own in their place. Numbers that are written into an equation are
float64 to numba, which is right but slower: pass them as constants. Triton reads annotations: those of arguments must
be plain names, such as ``Any`` or ``State``.
"""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import torch as th


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
    Compile a plain elementwise function, with the plain functions that it calls.

    :param compiler: compiler of a backend
    :param own: the functions above and the backend's own in their place
    :param function: equation of a neuron or derivative of a surrogate
    :return: the compiled function
    """
    scope = function.__globals__
    names = {name: scope[name] for name in ("__builtins__", "__name__", *function.__code__.co_names) if name in scope}
    called = {
        name: own[value] if value in own else compiled_by(compiler, own, value)
        for name, value in names.items()
        if isinstance(value, FunctionType)
    }
    # Without the names of annotations, which are no part of the equation.
    copy = FunctionType(function.__code__, {**names, **called}, function.__name__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return compiler(copy)
