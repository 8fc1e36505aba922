"""
The argument lists of the policies' pages, from the code.

A page has ``<!-- algorithms: PopSANPolicy -->`` and ``<!-- arguments: PopSANPolicy -->`` where its tables belong.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.snn import SpikingOptions

GIVEN = {"self", "observation_space", "action_space", "lr_schedule", "args", "kwargs"}
"""What the algorithm passes, and what collects the rest."""
NETWORK, POLICY, PASSED_ON = "Spiking network", "Policy", "Handed on to SB3's policy"


@dataclasses.dataclass(frozen=True)
class Argument:
    """
    An argument of a policy.

    :param name: its name
    :param group: heading that it stands under
    :param annotation: its type, as it is written
    :param default: its default, as it is written
    :param meaning: what the docstring says
    """

    name: str
    group: str
    annotation: str
    default: str
    meaning: str


def policies(name: str) -> dict[type[BaseAlgorithm], type]:
    """Return the classes that a name stands for, one for each algorithm."""
    return {algorithm: algorithm.policy_aliases[name] for algorithm in ALGORITHMS}


@cache
def arguments_of(policy: type) -> tuple[Argument, ...]:
    """
    Return the keyword arguments of a policy.

    :param policy: a policy of this package
    :return: those of its network, its own, and those that SB3's policy class takes
    """
    return tuple(_arguments_of(policy))


def _arguments_of(policy: type) -> Iterator[Argument]:
    described = descriptions(SpikingOptions)
    for field in dataclasses.fields(SpikingOptions):
        default = written(getattr(policy.preset, field.name))  # type: ignore[attr-defined]
        yield Argument(field.name, NETWORK, written(field.type), default, described[field.name])
    known = {field.name for field in dataclasses.fields(SpikingOptions)}
    for base in [base for base in policy.__mro__ if "__init__" in vars(base)]:
        ours = base.__module__.startswith("sb3_spiking")
        for parameter in inspect.signature(base.__init__).parameters.values():  # type: ignore[misc]
            if parameter.name not in known | GIVEN:
                known.add(parameter.name)
                group = POLICY if ours else PASSED_ON
                meaning = meaning_of(policy, parameter.name)
                annotation = written(parameter.annotation)
                yield Argument(parameter.name, group, annotation, written(parameter.default), meaning)
        if not ours:  # SB3's class names all that its bases take
            return


def meaning_of(policy: type, name: str) -> str:
    """Return the description of an argument: by the most general class of ours that has one, else by SB3's."""
    ours = [base for base in policy.__mro__ if base.__module__.startswith("sb3_spiking")]
    others = [base for base in policy.__mro__ if base not in ours]
    return next((text for base in [*reversed(ours), *others] if (text := descriptions(base).get(name))), "")


@cache
def descriptions(documented: type) -> dict[str, str]:
    """Return what a docstring says of each parameter, on one line."""
    matches = re.findall(r"^:param (\w+): (.*?)(?=^:|\Z)", inspect.cleandoc(documented.__doc__ or ""), re.M | re.S)
    return {name: " ".join(text.split()) for name, text in matches}


def written(value: Any) -> str:
    """Return a type or a default as one writes it, types without their modules."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        return f"{value:.4g}" if value % 1 else str(value)
    return re.sub(r"\b(?:\w+\.)+(?=[A-Za-z_])", "", inspect.formatannotation(value))


def defaults(name: str, argument: str) -> str:
    """Return the default of an argument, and where algorithms differ in it, which has which."""
    found: dict[str, list[str]] = {}
    for algorithm, policy in policies(name).items():
        for each in arguments_of(policy):
            if each.name == argument:
                found.setdefault(each.default, []).append(algorithm.__name__)
    if len(found) == 1:
        return f"`{next(iter(found))}`"
    return "; ".join(f"`{default}` ({', '.join(names)})" for default, names in found.items())


def argument_list(name: str) -> str:
    """Return the Markdown of all the arguments under a name, in groups."""
    merged: dict[str, Argument] = {}
    takers: dict[str, list[str]] = {}
    for algorithm, policy in policies(name).items():
        for argument in arguments_of(policy):
            merged.setdefault(argument.name, argument)
            takers.setdefault(argument.name, []).append(algorithm.__name__)
    lines: list[str] = []
    for group in (NETWORK, POLICY, PASSED_ON):
        lines.append(f"### {group}\n")
        for argument in (each for each in merged.values() if each.group == group):
            some = takers[argument.name]
            lines.append(f"`{argument.name}`")
            lines.append(f":   `{argument.annotation}`, default {defaults(name, argument.name)}.{who(name, some)}<br>")
            lines.append(f"    {argument.meaning[:1].upper()}{argument.meaning[1:]}\n")
    return "\n".join(lines)


def who(name: str, takers: list[str]) -> str:
    """Return which algorithms take an argument, or which do not if these are fewer; nothing if all do."""
    others = [algorithm.__name__ for algorithm in policies(name) if algorithm.__name__ not in takers]
    if not others:
        return ""
    return f" Not for {', '.join(others)}." if len(others) < len(takers) else f" For {', '.join(takers)} only."


def algorithm_table(name: str) -> str:
    """Return the Markdown of a table with the class under a name for each algorithm."""
    rows = [
        "| algorithm | module of the class | keys of a `net_arch` dict | learning rate of the actor |",
        "|---|---|---|---|",
    ]
    for algorithm, policy in policies(name).items():
        critic = policy.critic_key  # type: ignore[attr-defined]
        keys = "a list only" if critic is None else f"`pi`, `{critic}`"
        scale = "" if critic is None else f"{getattr(policy, 'default_actor_lr_scale', 1.0):g}x"
        rows.append(f"| {algorithm.__name__} | `{policy.__module__}` | {keys} | {scale} |")
    return "\n".join(rows)


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Put the lists where a page wants them."""
    markdown = re.sub(r"<!-- arguments: (\w+) -->", lambda match: argument_list(match[1]), markdown)
    return re.sub(r"<!-- algorithms: (\w+) -->", lambda match: algorithm_table(match[1]), markdown)
