"""What is in a zip file of SB3, of any algorithm, for a person to see before anything in it runs."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sb3_spiking.conversion.reading.algorithms import algorithm_of
from sb3_spiking.conversion.reading.archive import (
    MAX_WEIGHTS,
    CheckpointError,
    open_archive,
    printable,
    read_data,
    read_member,
    read_pickle,
    read_version,
    read_weights,
    reading,
)
from sb3_spiking.conversion.reading.inert_pickles import InertPickle, Name
from sb3_spiking.conversion.reading.saved_spaces import read_space

SPACES = ("observation_space", "action_space")


@dataclass(frozen=True)
class Contents:
    """
    What a zip file of SB3 says of itself; every text is printable.

    :param members: names and unpacked sizes of its members
    :param sha256: checksum of the file
    :param sb3_version: which version of Stable-Baselines3 wrote it
    :param algorithm: the algorithm that it was trained with; None if nothing tells
    :param policy_class: full name of the policy class
    :param spaces: observation and action space
    :param policy_kwargs: arguments of the policy, from their clear text
    :param timesteps: how long the agent was trained
    :param tensors: shapes of the policy's tensors
    :param pickles: where there are pickles, and what loading each would import: nothing suspicious in a good file,
        ``posix.system`` in a bad one
    :param problems: what could not be read, and why
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
    Look into a zip file of SB3; nothing in it is unpickled or executed.

    :param path: a zip file written by ``model.save``, whatever the algorithm
    :return: what can be read of it
    :raises CheckpointError: if it is no zip file
    """
    path = Path(path)
    problems: list[str] = []
    with reading(path), open_archive(path) as (archive, sha256):
        version: str | None = None
        data: dict[str, Any] = {}
        tensors: dict[str, tuple[int, ...]] = {}
        with _noting(problems, "version"):
            version = read_version(archive)
        with _noting(problems, "data"):
            data = read_data(archive)
        with _noting(problems, "weights"):
            tensors = {printable(name): tuple(tensor.shape) for name, tensor in read_weights(archive).items()}
        pickles = _pickles(data, problems)
        saved = pickles["policy_class"].value if "policy_class" in pickles else None
        policy_class = saved if isinstance(saved, Name) else None
        timesteps = data.get("num_timesteps")
        return Contents(
            members=tuple((printable(info.filename), info.file_size) for info in archive.infolist()),
            sha256=sha256,
            sb3_version=version,
            algorithm=algorithm_of(policy_class, data),
            policy_class=printable(str(policy_class)) if policy_class else None,
            spaces={key: _space(data, pickles, key, problems) for key in SPACES if key in data},
            policy_kwargs=_clear_text(data.get("policy_kwargs")),
            timesteps=timesteps if type(timesteps) is int else None,
            tensors=tensors,
            pickles=_imports({**pickles, **_torch_pickles(archive, problems)}, problems),
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
    """Return what SB3 writes beside a pickle, or in place of it."""
    if isinstance(item, dict):
        item = {key: value for key, value in item.items() if key not in (":type:", ":serialized:")}
    return printable(json.dumps(item))


def _space(data: Mapping[str, Any], pickles: Mapping[str, InertPickle], key: str, problems: list[str]) -> str:
    with _noting(problems, key):
        return printable(str(read_space(pickles[key].value if key in pickles else None)))
    return _clear_text(data[key])


def _pickles(data: Mapping[str, Any], problems: list[str]) -> dict[str, InertPickle]:
    pickles = {}
    for key, item in data.items():
        with _noting(problems, key):
            if (pickle := read_pickle(item)) is not None:
                pickles[key] = pickle
    return pickles


def _torch_pickles(archive: zipfile.ZipFile, problems: list[str]) -> dict[str, InertPickle]:
    """Return the pickles in torch's files, which are zip files themselves."""
    pickles = {}
    for name in sorted({name for name in archive.namelist() if name.endswith(".pth")}):
        with _noting(problems, name), zipfile.ZipFile(io.BytesIO(read_member(archive, name, MAX_WEIGHTS))) as inner:
            for part in inner.namelist():
                if part.endswith(".pkl"):
                    pickles[f"{name}/{part}"] = InertPickle(read_member(inner, part, MAX_WEIGHTS))
    return pickles


def _imports(pickles: Mapping[str, InertPickle], problems: list[str]) -> dict[str, tuple[str, ...]]:
    problems.extend(printable(f"{where}: {pickle.problem}") for where, pickle in pickles.items() if pickle.problem)
    return {
        printable(where): tuple(sorted({printable(str(name)) for name in pickle.names}))
        for where, pickle in pickles.items()
    }
