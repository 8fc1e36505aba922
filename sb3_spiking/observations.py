"""Batches of observations: an array, or a dict of arrays for Dict spaces."""

from collections.abc import Callable
from typing import Any


def each_entry(observations: Any, function: Callable[[Any], Any]) -> Any:
    """
    Apply a function to an observation, or to each entry of a Dict.

    :param observations: arrays or tensors, or a dict of them
    :param function: function of one array
    :return: its results, in the same form
    """
    if isinstance(observations, dict):
        return {name: function(entry) for name, entry in observations.items()}
    return function(observations)
