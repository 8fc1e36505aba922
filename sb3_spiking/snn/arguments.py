"""Checks of user-given arguments: every error names the argument, the value and what is allowed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any, TypeVar

Option = TypeVar("Option")


def choice(name: str, value: object, table: Mapping[str, Option]) -> Option:
    """
    Look up an option by its name.

    :param name: name of the argument, for the error
    :param value: what the user gave
    :param table: the allowed names and what they stand for
    :return: the table's entry
    :raises ValueError: if ``value`` is not a name in the table
    """
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"{name}={value!r} is unknown; choose one of: {', '.join(map(repr, table))}")
    return table[value]


def positive_int(name: str, value: object) -> int:
    """
    Check a size or a count.

    :param name: name of the argument, for the error
    :param value: what the user gave
    :return: the value, an integer >= 1
    :raises ValueError: if ``value`` is not an integer >= 1
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name}={value!r} must be an integer >= 1")
    return int(value)


def positive_float(name: str, value: object) -> float:
    """
    Check a threshold, a width or a rate.

    :param name: name of the argument, for the error
    :param value: what the user gave
    :return: the value, a finite float > 0
    :raises ValueError: if ``value`` is not a finite number > 0
    """
    number = finite_float(name, value)
    if number <= 0.0:
        raise ValueError(f"{name}={value!r} must be a finite number > 0")
    return number


def finite_float(name: str, value: object) -> float:
    """
    Check a real number.

    :param name: name of the argument, for the error
    :param value: what the user gave
    :return: the value, a finite float
    :raises ValueError: if ``value`` is not a finite number
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a finite number")
    return float(value)


def decay(name: str, value: object) -> float:
    """
    Check a decay factor per time step.

    :param name: name of the argument, for the error
    :param value: what the user gave
    :return: the value, a float in [0, 1)
    :raises ValueError: if ``value`` is not a number in [0, 1)
    """
    number = finite_float(name, value)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{name}={value!r} must lie in [0, 1)")
    return number


def hidden_sizes(name: str, value: object) -> list[int]:
    """
    Check a list of layer sizes.

    :param name: name of the argument, for the error
    :param value: what the user gave
    :return: the sizes, at least one, each >= 1
    :raises ValueError: if ``value`` is not a non-empty list of integers >= 1
    """
    if not isinstance(value, list | tuple) or len(value) == 0:
        raise ValueError(f"{name}={value!r} must be a non-empty list of layer sizes, for example [256, 256]")
    return [positive_int(f"{name}[{index}]", size) for index, size in enumerate(value)]


def from_kwargs(name: str, cls: type[Option], kwargs: Mapping[str, Any] | None) -> Option:
    """
    Build an options dataclass from keyword arguments.

    :param name: name of the argument that holds them, for the error
    :param cls: a dataclass that checks its own values
    :param kwargs: the user's keyword arguments; ``None`` stands for none
    :return: the options
    :raises ValueError: if a key is not a field of ``cls``, or a value is refused by it
    """
    allowed = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    unknown = _unknown(kwargs or {}, allowed)
    if unknown:
        raise ValueError(
            f"{name} has no {', '.join(map(repr, unknown))}; {cls.__name__} takes: "
            f"{', '.join(map(repr, allowed)) or 'nothing'}"
        )
    return cls(**(kwargs or {}))


def _unknown(given: Iterable[str], allowed: list[str]) -> list[str]:
    return [key for key in given if key not in allowed]
