"""Check of the names in ``policy_kwargs``, with suggestions for unknown ones."""

import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_spiking.arguments import FOREIGN_NAMES, closest, plain
from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.decoders import DECODERS
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.surrogates import SURROGATES

OPTIONS = tuple(field.name for field in fields(SpikingOptions))

TABLES: dict[str, Collection[type[Any]]] = {
    "neuron_kwargs": NEURONS.values(),
    "surrogate_kwargs": SURROGATES.values(),
    "decoder_kwargs": DECODERS.values(),
}
CONSTANTS = {
    table: sorted({field.name for option in options for field in fields(option)}) for table, options in TABLES.items()
}
"""Arguments that are dicts -> their possible keys."""

GIVEN = {"self", "observation_space", "action_space", "lr_schedule"}
"""Arguments that the algorithm passes."""

KNOWN = ("sb3_spiking.", "stable_baselines3.", "sb3_contrib.")
"""Packages whose policies pass their ``**kwargs`` on to the next class."""

THEIRS = {"features_extractor_kwargs", "optimizer_kwargs"}
"""Dicts that are passed on unchanged, to classes of other packages."""


def plain_kwargs(policy_class: type, policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """
    Convert NumPy numbers and arrays in the arguments to Python's, so that they are saved as readable JSON.

    :param policy_class: policy class that takes them; arguments added by a class of the user stay as they are
    :param policy_kwargs: keyword arguments
    """
    known = _named(policy_class, of_users=False) - THEIRS
    return {name: plain(value) if name in known else value for name, value in policy_kwargs.items()}


def check_keywords(policy_class: type, given: Iterable[str], algorithm: BaseAlgorithm | None) -> None:
    """
    Check that the policy, or SB3's policy behind it, has arguments of these names.

    :param policy_class: policy class
    :param given: names of the arguments
    :param algorithm: algorithm that makes the policy, if any
    :raises TypeError: if a name is unknown; the message suggests one, and lists all
    """
    allowed = allowed_keywords(policy_class)
    unknown = [name for name in given if name not in allowed]
    if unknown:
        advice = " ".join(_advice(name, allowed, algorithm) for name in unknown)
        raise TypeError(f"{advice} {policy_class.__name__} takes: {', '.join(allowed)}")


def allowed_keywords(policy_class: type) -> list[str]:
    """
    Return the possible names in ``policy_kwargs``.

    :param policy_class: policy class
    """
    return sorted(_named(policy_class))


def _named(policy_class: type, of_users: bool = True) -> set[str]:
    """Return the named arguments of a class and its bases, with or without those of the user's own classes."""
    names = set(OPTIONS)
    for cls in policy_class.__mro__:
        known = cls.__module__.startswith(KNOWN)
        if "__init__" not in vars(cls) or not (known or of_users):
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
        names |= {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        if known and all(each.kind is not each.VAR_KEYWORD for each in parameters):
            break  # SB3's policy passes nothing on
    return names - GIVEN


def _advice(name: str, allowed: list[str], algorithm: BaseAlgorithm | None) -> str:
    """Return the sentence of the error about an unknown name."""
    hints = []
    if algorithm is not None and name in inspect.signature(type(algorithm).__init__).parameters:
        called = type(algorithm).__name__
        hints.append(f"it is an argument of {called} itself: {called}(..., {name}=...)")
    if name == "use_sde":
        hints.append(
            "SAC and its relatives write it into the dict that they are given; give each model a dict of its own"
        )
    hints += _constants_meant(name)
    near = closest(name, allowed)
    if not hints and near is not None:
        hints.append(f"did you mean {near!r}?")
    return f"policy_kwargs has no {name!r}" + (f" ({', or '.join(hints)})." if hints else ".")


def _constants_meant(name: str) -> list[str]:
    """Return hints such as ``neuron_kwargs=dict(threshold=...)``, if the name is that of a constant."""
    words = {name, FOREIGN_NAMES.get(name, name), name.partition("_")[2]}
    return [
        f"it belongs in {table}: {table}=dict({constant}=...)"
        for table, constants in CONSTANTS.items()
        for constant in constants
        if constant in words
    ]
