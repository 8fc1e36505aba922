"""Checks of observation spaces, and of observations, that SB3 would misread or reject without a reason."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from torch import nn


def check_space(space: spaces.Space) -> None:
    """
    Check that SB3's preprocessing and torch can handle an observation space.

    :param space: observation space
    :raises ValueError: if they cannot; the message names the entry of a Dict, and the way out
    """
    if isinstance(space, spaces.Dict) and not space.spaces:
        raise ValueError("the observation space is a Dict without entries: there is nothing to observe")
    for name, entry in _entries(space).items():
        problem = _problem(entry)
        if problem is not None:
            raise ValueError(f"the observation space{f' {name!r}' if name else ''} is {entry}: {problem}")


def check_names(space: spaces.Dict) -> None:
    """
    Check that torch can store modules under the names of a Dict's entries.

    :param space: observation space
    :raises ValueError: if it cannot; the message names the entry
    """
    taken = nn.ModuleDict()
    for name in space.spaces:
        if not name or "." in name or hasattr(taken, name):
            raise ValueError(
                f"the entry {name!r} of the observation space needs another name: torch stores a module under it, and "
                "takes no dots, no empty names, and none of its own such as 'keys'; rename it with "
                "gymnasium.wrappers.TransformObservation"
            )


def _problem(space: spaces.Space) -> str | None:
    if isinstance(space, spaces.Box) and space.shape == ():
        return "numbers without an axis; make them vectors of size 1 with gymnasium.wrappers.FlattenObservation"
    if space.shape is not None and 0 in space.shape:
        return "it holds no numbers"
    if isinstance(space, spaces.Discrete) and space.start != 0:
        return (
            f"SB3's one-hot coding begins at 0, not at {space.start}; subtract it with "
            "gymnasium.wrappers.TransformObservation"
        )
    if isinstance(space, spaces.MultiDiscrete) and (space.nvec.ndim > 1 or np.any(space.start)):
        return "SB3's one-hot coding takes one axis of numbers from 0; use gymnasium.wrappers.FlattenObservation"
    return None


def check_observation(space: spaces.Space, observation: Any) -> None:
    """
    Check that an observation has the entries of its space, and integers in the range of discrete spaces.

    :param space: observation space of the policy
    :param observation: raw observation, or a batch
    :raises ValueError: if entries are missing or unknown, or a discrete observation is no number of its space
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, Mapping):
            raise ValueError(
                f"the observation must be a dict of {list(space.spaces)}, not {type(observation).__name__}"
            )
        missing, unknown = sorted(set(space.spaces) - set(observation)), sorted(set(observation) - set(space.spaces))
        if missing or unknown:
            raise ValueError(f"the observation does not fit its space: missing {missing}, unknown {unknown}")
        for name, entry in space.spaces.items():
            check_observation(entry, observation[name])
    elif isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        _check_integers(space, np.asarray(observation))


def _check_integers(space: Any, values: np.ndarray) -> None:
    sizes = 2 if isinstance(space, spaces.MultiBinary) else getattr(space, "nvec", getattr(space, "n", None))
    if values.dtype.kind not in "biuf" or (values.dtype.kind == "f" and not (values == np.floor(values)).all()):
        raise ValueError(f"an observation of {space} is an integer, not {values.tolist()}")
    fits = values.ndim >= len(space.shape) and values.shape[values.ndim - len(space.shape) :] == space.shape
    if fits and ((values < 0) | (values >= sizes)).any():  # SB3 rejects other shapes
        raise ValueError(f"an observation of {space} lies outside of it: {values.tolist()}")


def _entries(space: spaces.Space) -> dict[str, spaces.Space]:
    return space.spaces if isinstance(space, spaces.Dict) else {"": space}
