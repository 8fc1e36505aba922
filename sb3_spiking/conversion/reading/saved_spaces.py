"""Observation and action spaces out of inert pickles, from gym as well as gymnasium."""

import re
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_spiking.conversion.reading.inert_pickles import Made, Name


def read_space(value: Any) -> spaces.Space:
    """
    Return the space that a pickle would make.

    :param value: what `InertPickle` found
    :return: a gymnasium space with the same bounds
    :raises ValueError: if that is no Box, Discrete, MultiDiscrete, MultiBinary or flat Dict of gym or gymnasium
    """
    match value:
        case Made(Name(module, "Dict"), state={"spaces": entries}) if _is_space_module(module):
            entries = entries.entries if isinstance(entries, Made) else entries
            if not isinstance(entries, dict):
                raise ValueError("a Dict space of no named spaces")
            # Their order is that of the weights behind them, and of pairs alone no gymnasium sorts it anew.
            return spaces.Dict([(key, _read_flat(space)) for key, space in entries.items()])
    return _read_flat(value)


def _read_flat(value: Any) -> spaces.Space:
    match value:
        case Made(Name(module, name), state=dict(state)) if _is_space_module(module):
            match name, state:
                case "Box", {"low": low, "high": high}:
                    low = _array(low)
                    return spaces.Box(low, _array(high), dtype=low.dtype)
                case "Discrete", {"n": n, "dtype": dtype}:
                    return _discrete(_integer(n), _integer(state.get("start", 0)), _dtype(dtype))
                case "MultiDiscrete", {"nvec": nvec}:
                    nvec = _array(nvec)
                    start = _array(state["start"]) if "start" in state else None
                    return spaces.MultiDiscrete(nvec, dtype=nvec.dtype, start=start)
                case "MultiBinary", {"n": n}:
                    return spaces.MultiBinary([_integer(size) for size in n] if isinstance(n, tuple) else _integer(n))
    raise ValueError("no Box, Discrete, MultiDiscrete, MultiBinary or flat Dict of them")


def _discrete(n: int, start: int, dtype: np.dtype) -> spaces.Discrete:
    if dtype == np.int64:  # the only one that gymnasium before 1.2.2 has, and it takes no argument for it
        return spaces.Discrete(n, start=start)
    try:
        return spaces.Discrete(n, start=start, dtype=dtype)
    except TypeError as error:
        raise ValueError(f"a Discrete space of {dtype}: that needs gymnasium 1.2.2 or newer") from error


def _is_space_module(module: str) -> bool:
    return re.fullmatch(r"(gym|gymnasium)\.spaces\.\w+", module) is not None


def _array(value: Any) -> np.ndarray:
    match value:
        case Made(Name(_, "_frombuffer"), (buffer, dtype, shape, order)):
            pass
        case Made(Name(_, "_reconstruct"), _, (_, shape, dtype, fortran, buffer)):
            order = "F" if fortran else "C"
        case _:
            raise ValueError("bounds that are no plain array")
    return np.frombuffer(buffer, _dtype(dtype)).reshape(shape, order=order).copy()


def _integer(value: Any) -> int:
    match value:
        case bool():
            pass
        case int():
            return value
        case Made(Name(_, "scalar"), (dtype, bytes(buffer))):
            return int(np.frombuffer(buffer, _dtype(dtype)).item())
    raise ValueError("a size that is no integer")


def _dtype(value: Any) -> np.dtype:
    match value:
        case Made(Name("numpy", "dtype"), (str(code), *_), (_, "<" | ">" | "|" as byteorder, *_)):
            if re.fullmatch(r"b1|[iuf]\d", code):
                return np.dtype(code).newbyteorder(byteorder)
    raise ValueError("values that are no plain numbers")
