"""Values of settings as plain ones: they can be sent to another process, compared there, and shown."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.noise import ActionNoise

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""What Python's representations say of the place in memory, which differs between processes."""


def plain(value: Any) -> Any:
    """
    Describe a value by plain ones: two descriptions are equal where the values mean the same.

    Functions are compared by their code, defaults and closures; of an object that is none of the known ones only the
    class is.

    :param value: anything
    :return: None, a boolean, a number or a string, or a tuple or dict of them
    """
    match value:
        case None | bool() | int() | str():
            return value.name if isinstance(value, Enum) else value
        case float():
            return float(value) if value == value else "nan"
        case np.generic():
            return plain(value.item())
        case np.ndarray():
            return plain(value.tolist())
        case th.Tensor():
            return f"tensor {tuple(value.shape)} of {value.dtype}"
        case Mapping():
            return {str(key): plain(part) for key, part in value.items()}
        case list() | tuple():
            return tuple(plain(part) for part in value)
        case set() | frozenset():
            return tuple(sorted(str(plain(part)) for part in value))
        case Enum():
            return value.name
        case type():
            return f"{value.__module__}.{value.__qualname__}"
        case th.dtype() | np.dtype():
            return str(value)
        case th.device():
            return value.type
        case _:
            return _object(value)


def _object(value: Any) -> Any:
    name = plain(type(value))
    match value:
        case FunctionType():
            parts = (_code(value.__code__), plain(value.__defaults__), plain(value.__kwdefaults__), _closure(value))
            return f"{value.__qualname__} (code {hashlib.sha256(repr(parts).encode()).hexdigest()[:8]})"
        case MethodType():
            return plain(value.__func__)
        case functools.partial():
            return {"function": plain(value.func), "args": plain(value.args), "keywords": plain(value.keywords)}
        case ActionNoise():
            return {"type": name, **plain(vars(value))}
    if dataclasses.is_dataclass(value):
        return {"type": name, **{field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}}
    return name


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_code(part) if isinstance(part, CodeType) else repr(plain(part)) for part in code.co_consts)
    return code.co_code, code.co_names, constants


def _closure(function: FunctionType) -> tuple[Any, ...]:
    variables = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable without a value yet
            variables.append(cell.cell_contents)
    # A function may well know itself.
    return tuple(_code(part.__code__) if isinstance(part, FunctionType) else plain(part) for part in variables)


def without_address(text: str) -> str:
    """
    Return a representation without places in memory.

    :param text: what ``repr`` returns
    """
    return ADDRESS.sub("", text)
