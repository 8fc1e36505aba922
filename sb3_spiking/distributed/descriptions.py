"""Descriptions of settings by plain values, which can be sent to another process, compared there, and printed."""

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
"""Memory address in a ``repr``, which differs between processes."""


def describe(value: Any) -> Any:
    """
    Describe a value by None, booleans, numbers and strings, and tuples and dicts of them.

    Values with the same meaning have equal descriptions. Functions are described by their code, defaults and closures,
    objects of unknown classes by their class alone.
    """
    match value:
        case None | bool() | int() | str():
            return value.name if isinstance(value, Enum) else value
        case float():
            return float(value) if value == value else "nan"
        case np.generic():
            return describe(value.item())
        case np.ndarray():
            return describe(value.tolist())
        case th.Tensor():
            return f"tensor {tuple(value.shape)} of {value.dtype}"
        case Mapping():
            return {str(key): describe(part) for key, part in value.items()}
        case list() | tuple():
            return tuple(describe(part) for part in value)
        case set() | frozenset():
            return tuple(sorted(str(describe(part)) for part in value))
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
    name = describe(type(value))
    match value:
        case FunctionType():
            parts = (
                _code(value.__code__),
                describe(value.__defaults__),
                describe(value.__kwdefaults__),
                _closure(value),
            )
            return f"{value.__qualname__} (code {hashlib.sha256(repr(parts).encode()).hexdigest()[:8]})"
        case MethodType():
            return describe(value.__func__)
        case functools.partial():
            return {
                "function": describe(value.func),
                "args": describe(value.args),
                "keywords": describe(value.keywords),
            }
        case ActionNoise():
            return {"type": name, **describe(vars(value))}
    if dataclasses.is_dataclass(value):
        return {
            "type": name,
            **{field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)},
        }
    return name


def _code(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_code(part) if isinstance(part, CodeType) else repr(describe(part)) for part in code.co_consts)
    return code.co_code, code.co_names, constants


def _closure(function: FunctionType) -> tuple[Any, ...]:
    variables = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable without a value yet
            variables.append(cell.cell_contents)
    # By code alone: a recursive function is in its own closure.
    return tuple(_code(part.__code__) if isinstance(part, FunctionType) else describe(part) for part in variables)


def without_address(text: str) -> str:
    """Remove memory addresses from a ``repr``."""
    return ADDRESS.sub("", text)
