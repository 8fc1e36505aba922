"""Description of a saved model with one of this package's policies: nothing in its file is unpickled or executed."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from gymnasium import spaces

from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.keywords import OPTIONS
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.printable import printable
from sb3_spiking.reading.archive import CheckpointError, read_data, read_pickle, reading
from sb3_spiking.reading.inert_pickles import Construction, Name
from sb3_spiking.reading.inspection import SPACES, Contents
from sb3_spiking.reading.saved_spaces import read_space
from sb3_spiking.reading.zip_files import open_archive
from sb3_spiking.snn import SpikingOptions

FIRST_LAYER = "layers.0.synapses.weight"
MAX_VALUES = 300
"""Values in ``policy_kwargs``, those of nested lists included; an agent has some ten."""
MAX_SYSTEM_INFO = 10_000
"""Bytes of SB3's notes on the machine; usually 300."""


@dataclass(frozen=True)
class SpikingModel:
    """
    The spiking network of a saved policy, as its file describes it.

    :param options: arguments of the network, defaults included; None if one of them is not allowed
    :param problem: reason why ``options`` is None
    :param foreign: arguments that name classes of other packages; they are not imported, and not in ``options``
    :param others: further arguments of the policy
    :param layers: shapes of the weights, in their order
    :param spiking_parameters: number of parameters of the spiking network
    :param parameters: number of parameters of the whole policy, without target networks
    :param versions: SB3's notes on the machine that saved the file
    """

    options: SpikingOptions | None
    problem: str | None
    foreign: dict[str, Any]
    others: dict[str, Any]
    layers: tuple[tuple[int, ...], ...]
    spiking_parameters: int
    parameters: int
    versions: tuple[str, ...]


def spiking_policies() -> Iterator[tuple[str, type[SpikingPolicy]]]:
    """Yield the full names of the spiking policies and their classes, in the order of the algorithms."""
    for algorithm in ALGORITHMS:
        for policy in algorithm.policy_aliases.values():
            if issubclass(policy, SpikingPolicy):
                yield f"{policy.__module__}.{policy.__qualname__}", policy


def read_spiking_model(path: str | Path, contents: Contents) -> SpikingModel | None:
    """
    Describe the spiking network of a saved model, None if the policy is not of this package.

    :param path: zip file of ``model.save``
    :param contents: contents of the file
    :raises CheckpointError: if the file cannot be read
    """
    policy = dict(spiking_policies()).get(contents.policy_class or "")
    if policy is None:
        return None
    with reading(path), open_archive(Path(path)) as archive:
        saved = read_data(archive).get("policy_kwargs")
        pickle = read_pickle(saved)
        kwargs = _Plain().copy(saved if pickle is None else pickle.value)
        versions = ""
        if "system_info.txt" in archive.members:
            versions = archive.read("system_info.txt", MAX_SYSTEM_INFO).decode()
    kwargs = kwargs if isinstance(kwargs, dict) else {}
    given = {name: value for name, value in kwargs.items() if name in OPTIONS}
    foreign = {name: value for name, value in given.items() if _names_a_class(value)}
    # The constants of a foreign class are not those of the default, so they are only shown.
    own = {name: value for name, value in given.items() if not foreign.keys() & {name, name.removesuffix("_kwargs")}}
    options, problem = _options(policy, own)
    network = _network(contents.tensors)
    return SpikingModel(
        options,
        problem,
        foreign,
        {name: value for name, value in kwargs.items() if name not in own and name not in foreign},
        tuple(shape for name, shape in network.items() if name.endswith(".weight")),
        _parameters(network),
        _parameters({name: shape for name, shape in contents.tensors.items() if not _is_target(name)}),
        tuple(printable(line.lstrip("- ")) for line in versions.splitlines()),
    )


def read_spaces(path: str | Path) -> tuple[spaces.Space, spaces.Space] | None:
    """Read an agent's observation and action space, None where they cannot be read as data."""
    try:
        with reading(path), open_archive(Path(path)) as archive:
            data = read_data(archive)
            pickles = [read_pickle(data.get(key)) for key in SPACES]
            observation, action = (read_space(pickle.value) for pickle in pickles if pickle is not None)
            return observation, action
    except CheckpointError:
        return None


class _Plain:
    """Copies plain values of a pickle or JSON, a bounded number of them: a few bytes can expand to gigabytes."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def copy(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"policy_kwargs hold more than {MAX_VALUES} values")
        match value:
            case None | bool() | float():
                return value
            case int():
                return value if abs(value) < 2**63 else "a huge number"
            case str() | Name():
                return printable(str(value), 100)
            case list() | tuple():
                return [self.copy(entry) for entry in value]
            case dict():
                return {printable(str(key), 100): self.copy(entry) for key, entry in value.items()}
            case Construction(maker=Name() as maker):
                return printable(f"{maker}(...)", 100)
            case _:
                return "..."


def _names_a_class(value: Any) -> bool:
    """Return whether `SpikingOptions` might import a value, ``"package.module:Class"``; a file may not ask for that."""
    match value:
        case dict():
            return any(map(_names_a_class, value.values()))
        case list():
            return any(map(_names_a_class, value))
        case _:
            return isinstance(value, str) and ":" in value


def _options(policy: type[SpikingPolicy], kwargs: Mapping[str, Any]) -> tuple[SpikingOptions | None, str | None]:
    try:
        return dataclasses.replace(policy.preset, **kwargs), None
    except (ValueError, TypeError) as error:
        return None, printable(str(error))


def _network(tensors: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the tensors of the spiking network, the decoder's last."""
    firsts = [name for name in tensors if name.endswith(FIRST_LAYER) and not _is_target(name)]
    if not firsts:
        return {}
    prefix = min(firsts, key=len).removesuffix(FIRST_LAYER)  # the longer ones belong to its convolutions
    found = {name.removeprefix(prefix): shape for name, shape in tensors.items() if name.startswith(prefix)}
    return dict(sorted(found.items(), key=lambda item: item[0].startswith("decoder.")))


def _is_target(name: str) -> bool:
    return name.split(".")[0].endswith("_target")


def _parameters(tensors: Mapping[str, tuple[int, ...]]) -> int:
    return sum(prod(shape) for name, shape in tensors.items() if ".running_" not in name)
