"""Observation and action spaces of gym and gymnasium, from inert pickles."""

import math
import re
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.inert_pickles import Construction, Name
from sb3_spiking.reading.saved_arrays import pickled_array, pickled_dtype, pickled_number

MAX_FEATURES = 2**24
"""Numbers in one observation; an image of 1080 x 1920 pixels has 6 million."""
MAX_ENTRIES = 1000
"""Entries of a Dict and digits of a MultiDiscrete, over which SB3 loops."""


def check_size(space: spaces.Space) -> spaces.Space:
    """
    Check the size of a space before anything of that size is allocated, and return the space.

    :raises ValueError: if it has too many entries or numbers
    """
    entries = list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
    size = sum(map(_features, entries))
    if len(entries) > MAX_ENTRIES or size > MAX_FEATURES:
        raise ValueError(f"{len(entries)} entries with {size} numbers are more than any agent sees")
    return space


def _features(space: spaces.Space) -> int:
    match space:
        case spaces.Discrete():
            return int(space.n)
        case spaces.MultiDiscrete():
            digits = space.nvec.reshape(-1).tolist()
            return sum(digits) if len(digits) <= MAX_ENTRIES else MAX_FEATURES + 1
        case _:
            return math.prod(space.shape)


def read_space(value: Any) -> spaces.Space:
    """
    Return a pickled space as gymnasium's.

    :raises ValueError: if it is no Box, Discrete, MultiDiscrete, MultiBinary or flat Dict of gym or gymnasium, or is
        too large
    """
    numbers = Budget(2 * MAX_FEATURES, "numbers in a space")
    match value:
        case Construction(Name(module, "Dict"), state={"spaces": entries}) if _is_space_module(module):
            entries = entries.entries if isinstance(entries, Construction) else entries
            if not isinstance(entries, dict) or len(entries) > MAX_ENTRIES:
                raise ValueError("a Dict space of no named spaces")
            # Their order is that of the weights; gymnasium keeps the order of pairs, and sorts a dict.
            return check_size(spaces.Dict([(key, _read_flat(space, numbers)) for key, space in entries.items()]))
    return check_size(_read_flat(value, numbers))


def _read_flat(value: Any, numbers: Budget) -> spaces.Space:
    match value:
        case Construction(Name(module, name), state=dict(state)) if _is_space_module(module):
            match name, state:
                case "Box", {"low": low, "high": high}:
                    low = pickled_array(low, numbers)
                    return spaces.Box(low, pickled_array(high, numbers), dtype=low.dtype)
                case "Discrete", {"n": n, "dtype": dtype}:
                    return _discrete(_integer(n), _integer(state.get("start", 0)), pickled_dtype(dtype))
                case "MultiDiscrete", {"nvec": nvec}:
                    nvec = pickled_array(nvec, numbers)
                    start = pickled_array(state["start"], numbers) if "start" in state else None
                    return spaces.MultiDiscrete(nvec, dtype=nvec.dtype, start=start)
                case "MultiBinary", {"n": tuple(sizes)}:
                    return spaces.MultiBinary([_integer(size) for size in sizes])
                case "MultiBinary", {"n": n}:
                    return spaces.MultiBinary(_integer(n))
    raise ValueError("no Box, Discrete, MultiDiscrete, MultiBinary or flat Dict of them")


def _discrete(n: int, start: int, dtype: np.dtype) -> spaces.Discrete:
    if dtype == np.int64:  # gymnasium before 1.2.2 has no other, and no argument for it
        return spaces.Discrete(n, start=start)
    try:
        return spaces.Discrete(n, start=start, dtype=dtype)
    except TypeError as error:
        raise ValueError(f"a Discrete space of {dtype}: that needs gymnasium 1.2.2 or newer") from error


def _is_space_module(module: str) -> bool:
    return re.fullmatch(r"(gym|gymnasium)\.spaces\.\w+", module) is not None


def _integer(value: Any) -> int:
    number = pickled_number(value)
    if type(number) is not int:
        raise ValueError("a size that is no integer")
    return number
