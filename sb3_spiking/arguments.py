"""Checks of user-given arguments: every error names the argument, the value and what is allowed."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib import import_module
from inspect import isabstract
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import torch as th

from sb3_spiking.errors import Argument, InputError

Option = TypeVar("Option")

FOREIGN_NAMES = {
    "beta": "membrane_decay",
    "v_decay": "membrane_decay",
    "c_decay": "current_decay",
    "v_threshold": "threshold",
    "v_th": "threshold",
    "v_reset": "reset",
    "alpha": "slope",
    "window": "width",
    "T": "time_steps",
    "num_steps": "time_steps",
    "spike_ts": "time_steps",
    "encoder_pop_dim": "encoder_population",
    "decoder_pop_dim": "decoder_population",
    "use_poisson": "encoder",
    "norm_clip_limit": "mean_range",
    "hidden_sizes": "net_arch",
    "popsan_lr": "actor_lr_scale",
    "surrogate_function": "surrogate",
}
"""Name of an argument in SpikingJelly, snnTorch or the published PopSAN code -> its name here."""


def plain(value: Any) -> Any:
    """
    Convert NumPy values and tensors to plain Python, so that they are saved as readable JSON.

    :param value: any value; lists, tuples and dicts are converted entry by entry
    :return: numbers and lists in place of NumPy numbers, arrays and tensors; other values unchanged
    """
    if isinstance(value, np.generic | np.ndarray | th.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


def did_you_mean(name: object, allowed: Iterable[str]) -> str:
    """
    Return a question for the end of an error message.

    :param name: unknown name
    :param allowed: known names
    :return: ``"; did you mean '...'?"``, or an empty string if no name is close
    """
    found = closest(name, allowed)
    return "" if found is None else f"; did you mean {found!r}?"


def closest(name: object, allowed: Iterable[str]) -> str | None:
    """
    Return the known name that is closest to another one.

    :param name: misspelt name, name of another library, or class
    :param allowed: known names
    :return: closest name; None if none is close
    """
    known = {each.lower(): each for each in allowed}
    text = name.__name__ if isinstance(name, type) else str(name)
    wanted = FOREIGN_NAMES.get(text, text).lower()
    matches = difflib.get_close_matches(wanted, known, n=1)
    return known[matches[0]] if matches else None


def choice(name: str, value: object, table: Mapping[str, Option]) -> Option:
    """
    Look up an option by its name.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :param table: options by their names
    :return: option of this name
    :raises ValueError: if ``value`` is not a name in the table
    """
    if not isinstance(value, str) or value not in table:
        raise ValueError(
            f"{name}={value!r} is unknown; choose one of: {', '.join(map(repr, table))}{did_you_mean(value, table)}"
        )
    return table[value]


def option(name: str, value: object, table: Mapping[str, type[Option]], base: type[Any]) -> type[Option]:
    """
    Look up a class by its name, or import ``"package.module:Name"`` from another package.

    Importing runs code: never pass names from untrusted files.

    :param name: name of the argument, for the error
    :param value: name in the table, or ``"package.module:Name"``
    :param table: classes by their names
    :param base: required base class
    :return: the class
    :raises ValueError: if the name is unknown, cannot be imported, or does not name a subclass of ``base``
    """
    if not isinstance(value, str) or ":" not in value:
        return choice(name, value, table)
    module, _, attribute = value.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{name}={value!r} cannot be imported ({error}); write 'package.module:Name', or one of: "
            f"{', '.join(map(repr, table))}"
        ) from error
    if not isinstance(found, type) or not issubclass(found, base):
        raise ValueError(f"{name}={value!r} must be a subclass of {base.__module__}.{base.__name__}")
    if isabstract(found):
        raise ValueError(f"{name}={value!r} is abstract; name a class that can be made")
    return found


def positive_int(name: str, value: object) -> int:
    """
    Check a size or a count.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :return: integer >= 1
    :raises ValueError: if ``value`` is not an integer >= 1
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(Argument(name, value), " must be an integer >= 1")
    return int(value)


def non_negative_int(name: str, value: object) -> int:
    """
    Check a number of steps that may be 0, or a seed.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :return: integer >= 0
    :raises ValueError: if ``value`` is not an integer >= 0
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise InputError(Argument(name, value), " must be an integer >= 0")
    return int(value)


def positive_float(name: str, value: object) -> float:
    """
    Check a threshold, a width or a rate.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :return: finite float > 0
    :raises ValueError: if ``value`` is not a finite number > 0
    """
    number = finite_float(name, value)
    if number <= 0.0:
        raise InputError(Argument(name, value), " must be a finite number > 0")
    return number


def finite_float(name: str, value: object) -> float:
    """
    Check a real number.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :return: finite float
    :raises ValueError: if ``value`` is not a finite number
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(Argument(name, value), " must be a finite number")
    return float(value)


def probability(name: str, value: object) -> float:
    """
    Check a probability.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :return: float in [0, 1]
    :raises ValueError: if ``value`` is not a number in [0, 1]
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) <= 1.0:
        raise InputError(Argument(name, value), " must lie in [0, 1]")
    return float(value)


def boolean(name: str, value: object) -> bool:
    """
    Check a switch; strings are refused, since even ``"False"`` would be true.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :return: the value
    :raises ValueError: if ``value`` is not True or False
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r} must be True or False")
    return bool(value)


def decay(name: str, value: object) -> float:
    """
    Check a decay factor per time step.

    :param name: name of the argument, for the error
    :param value: value of the argument
    :return: float in [0, 1)
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
    :param value: value of the argument
    :return: list of sizes, at least one, each >= 1
    :raises ValueError: if ``value`` is not a non-empty list of integers >= 1
    """
    value = plain(value)
    if not isinstance(value, list | tuple) or len(value) == 0:
        raise ValueError(f"{name}={value!r} must be a non-empty list of layer sizes, for example [256, 256]")
    return [positive_int(f"{name}[{index}]", size) for index, size in enumerate(value)]


def from_kwargs(name: str, cls: type[Option], kwargs: Mapping[str, Any] | None) -> Option:
    """
    Build an options dataclass from keyword arguments.

    :param name: name of the argument that holds them, for the error
    :param cls: dataclass that checks its own values
    :param kwargs: keyword arguments; None for none
    :return: the options
    :raises ValueError: if a key is not a field of ``cls``, or ``cls`` refuses a value
    """
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise ValueError(f"{name}={kwargs!r} must be a dict of constants")
    allowed = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    unknown = [key for key in kwargs or {} if key not in allowed]
    if unknown:
        raise ValueError(
            f"{name} has no {', '.join(map(repr, unknown))}; {cls.__name__} takes: "
            f"{', '.join(map(repr, allowed)) or 'nothing'}{did_you_mean(unknown[0], allowed)}"
        )
    return cls(**(kwargs or {}))
