"""Inspection of SB3's zip files of any algorithm, before anything in them runs."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sb3_spiking.printable import printable
from sb3_spiking.reading.algorithms import algorithm_of
from sb3_spiking.reading.archive import (
    MAX_WEIGHTS,
    CheckpointError,
    read_data,
    read_pickle,
    read_version,
    read_weights,
    reading,
)
from sb3_spiking.reading.budget import Budget
from sb3_spiking.reading.inert_pickles import InertPickle, Name
from sb3_spiking.reading.saved_arrays import pickled_number
from sb3_spiking.reading.saved_spaces import read_space
from sb3_spiking.reading.zip_files import Archive, open_archive

SPACES = ("observation_space", "action_space")
MAX_OPCODES = 500_000
"""Opcodes of all the pickles in a file."""


@dataclass(frozen=True)
class Contents:
    """
    Contents of a zip file of SB3; every text is printable.

    :param members: names and unpacked sizes of the members
    :param sha256: checksum of the file
    :param sb3_version: version of Stable-Baselines3 that wrote the file; None if it is not noted
    :param algorithm: name of the algorithm; None if nothing in the file tells
    :param policy_class: full name of the policy class
    :param spaces: observation and action space
    :param policy_kwargs: arguments of the policy, as SB3 writes them beside their pickle
    :param timesteps: number of training steps; None if it is not noted
    :param tensors: shapes of the policy's tensors
    :param pickles: place of each pickle -> names that loading it would import: nothing suspicious in a good file,
        ``posix.system`` in a bad one
    :param problems: parts that could not be read, and the reasons
    """

    members: tuple[tuple[str, int], ...]
    sha256: str
    sb3_version: str | None
    algorithm: str | None
    policy_class: str | None
    spaces: dict[str, str]
    policy_kwargs: str
    timesteps: int | None
    tensors: dict[str, tuple[int, ...]]
    pickles: dict[str, tuple[str, ...]]
    problems: tuple[str, ...]


def inspect_zip(path: str | Path) -> Contents:
    """
    Read the contents of a zip file of SB3; nothing in it is unpickled or executed.

    :param path: zip file of ``model.save``, of any algorithm
    :return: the readable contents
    :raises CheckpointError: if the file is no zip file
    """
    path = Path(path)
    problems: list[str] = []
    with reading(path), open_archive(path) as archive:
        opcodes = Budget(MAX_OPCODES, "opcodes in all the pickles")
        version: str | None = None
        data: dict[str, Any] = {}
        tensors: dict[str, tuple[int, ...]] = {}
        with _noting(problems, "version"):
            version = read_version(archive)
        with _noting(problems, "data"):
            data = read_data(archive)
        with _noting(problems, "weights"):
            tensors = {printable(name): tuple(tensor.shape) for name, tensor in read_weights(archive).items()}
        pickles = _pickles(data, opcodes, problems)
        saved = pickles["policy_class"].value if "policy_class" in pickles else None
        policy_class = saved if isinstance(saved, Name) else None
        return Contents(
            members=tuple((printable(name), size) for name, size in archive.sizes),
            sha256=archive.sha256(),
            sb3_version=version,
            algorithm=algorithm_of(policy_class, data),
            policy_class=printable(str(policy_class)) if policy_class else None,
            spaces={key: _space(data, pickles, key, problems) for key in SPACES if key in data},
            policy_kwargs=_clear_text(data.get("policy_kwargs")),
            timesteps=_timesteps(data, pickles),
            tensors=tensors,
            pickles=_imports({**pickles, **_torch_pickles(archive, opcodes, problems)}, problems),
            problems=tuple(problems),
        )


@contextmanager
def _noting(problems: list[str], what: str) -> Iterator[None]:
    try:
        with reading(what):
            yield
    except CheckpointError as error:
        problems.append(str(error))


def _clear_text(item: Any) -> str:
    """Return the text that SB3 writes beside a pickle, or in place of it."""
    if isinstance(item, dict):
        item = {key: value for key, value in item.items() if key not in (":type:", ":serialized:")}
    return printable(json.dumps(item))


def _space(data: Mapping[str, Any], pickles: Mapping[str, InertPickle], key: str, problems: list[str]) -> str:
    with _noting(problems, key):
        return printable(str(read_space(pickles[key].value if key in pickles else None)))
    return _clear_text(data[key])


def _timesteps(data: Mapping[str, Any], pickles: Mapping[str, InertPickle]) -> int | None:
    key = "num_timesteps"
    number = pickled_number(pickles[key].value if key in pickles else data.get(key))
    whole = type(number) is int or (isinstance(number, float) and number.is_integer())
    return int(number) if number is not None and whole else None


def _pickles(data: Mapping[str, Any], opcodes: Budget, problems: list[str]) -> dict[str, InertPickle]:
    pickles = {}
    for key, item in data.items():
        with _noting(problems, key):
            if (pickle := read_pickle(item, opcodes)) is not None:
                pickles[key] = pickle
    return pickles


def _torch_pickles(archive: Archive, opcodes: Budget, problems: list[str]) -> dict[str, InertPickle]:
    """Return the pickles in torch's files, which are zip files themselves."""
    pickles = {}
    for name in sorted(name for name in archive.members if name.endswith(".pth")):
        with _noting(problems, name):
            content = archive.read(name, MAX_WEIGHTS)
            inner = Archive(io.BytesIO(content), len(content), archive.budget)
            for part in inner.members:
                if part.endswith(".pkl"):
                    pickles[f"{name}/{part}"] = InertPickle(inner.read(part, MAX_WEIGHTS), opcodes)
    return pickles


def _imports(pickles: Mapping[str, InertPickle], problems: list[str]) -> dict[str, tuple[str, ...]]:
    problems.extend(printable(f"{where}: {pickle.problem}") for where, pickle in pickles.items() if pickle.problem)
    return {printable(where): tuple(sorted(map(str, set(pickle.names)))) for where, pickle in pickles.items()}
