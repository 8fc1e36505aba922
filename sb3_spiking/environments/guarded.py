"""Guard for environments named by files: registered ids and plain arguments only."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from sb3_spiking.environments.recipe import ENV, MAX_FRAMES, EnvError, EnvRecipe, known_ids, reason_of
from sb3_spiking.errors import Argument, InputError
from sb3_spiking.reading.archive import reading
from sb3_spiking.reading.fields import Record

PACKAGES = ("gymnasium.envs.", "ale_py.", "minatar.", "sb3_spiking.environments.")
"""Modules whose environments may get arguments from a file: their use of them is known."""
MAX_STEPS, MAX_NUMBER, MAX_FRAME_SKIP, MAX_ITEMS, MAX_PATH = 1_000_000, 1e6, 100, 64, 4096
"""Bounds of arguments: steps of an episode, numbers, frame skips, items of a list; characters of a path."""
ADAPTERS = "GymV"
"""Prefix of gymnasium's adapters to gym, which import modules that their arguments name."""
WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Texts that are neither a path nor a module."""


def named_recipe(
    source: object,
    env_id: Any,
    kwargs: Any = None,
    atari: bool = False,
    frame_stack: int = 0,
    vec_normalize: Path | None = None,
) -> EnvRecipe:
    """
    Return the recipe of an environment that a file names, without importing or opening anything for it.

    :param source: the file, for the error
    :param env_id: id, to be registered and no adapter to gym
    :param kwargs: plain values for arguments of the environment, None for none
    :raises EnvError: if the id or an argument is not allowed in files
    """
    # gymnasium would import a package named here, or in the kwargs of its adapters to gym.
    if not isinstance(env_id, str) or len(env_id) > 200 or ":" in env_id or env_id.startswith(ADAPTERS):
        raise EnvError(f"{source} names the environment {env_id!r}, not used; pass ", ENV, " if you trust it")
    if not isinstance(kwargs, Mapping | None):
        raise EnvError(f"{source}: the arguments of {env_id} are no mapping; pass ", ENV)
    if kwargs:
        _check_arguments(source, env_id, kwargs)
    return EnvRecipe(env_id, kwargs or {}, atari, frame_stack, vec_normalize)


def noted_recipe(path: Path, noted: Any, vec_normalize: Path | None = None) -> EnvRecipe:
    """
    Return the recipe of the environment that a converted file notes.

    :param path: the converted file
    :param noted: the note, JSON
    :param vec_normalize: statistics given by the user; noted ones must lie in the folder of the file or below it
    :raises ValueError: if the note is not allowed in files, or its statistics lie elsewhere
    """
    with reading(path):
        record = Record(noted, "origin.env")
        kwargs, atari = record.record("kwargs").fields, record.flag("atari")
        frame_stack, env_id = record.whole("frame_stack", 0, MAX_FRAMES), record.text("id")
        if vec_normalize is None and record.get("vec_normalize") is not None:
            vec_normalize = _beside(path, Path(record.text("vec_normalize", MAX_PATH)))
    return named_recipe(path, env_id, kwargs, atari, frame_stack, vec_normalize)


def _beside(path: Path, noted: Path) -> Path:
    """Return noted statistics that lie in the folder of a file or below it; a note may name any file of a machine."""
    folder = path.resolve().parent
    for place in (folder / noted, noted, folder / noted.name):
        if place.is_file() and place.resolve().is_relative_to(folder):
            return place
    raise InputError(
        f"was converted with the statistics {str(noted)!r}, which are not in its folder; "
        "put them there, or name them with ",
        Argument("vec_normalize"),
    )


def _check_arguments(source: object, env_id: str, kwargs: Mapping[Any, Any]) -> None:
    allowed = _arguments(env_id)
    for name, value in kwargs.items():
        if name not in allowed or not _is_plain(name, value):
            raise EnvError(
                f"{source} gives {env_id} the argument {name!r}: {str(value)[:100]!r}, not used; pass ",
                *(ENV, " and ", Argument("kwargs"), " if you trust it"),
            )


def _arguments(env_id: str) -> set[str]:
    """Return the arguments that a file may give an environment; none for unknown packages."""
    registered = gym.registry.get(env_id) if env_id in known_ids() else None
    creator = None if registered is None else registered.entry_point
    if not isinstance(creator, str) or not creator.startswith(PACKAGES):
        return set()
    try:
        parameters = inspect.signature(load_env_creator(creator)).parameters.values()
    except (ImportError, gym.error.Error) as error:  # an extra that is not installed
        raise EnvError(f"{env_id} cannot be made: {reason_of(error)}") from error
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    return {"max_episode_steps", *named} - {"render_mode", "game"}


def _is_plain(name: str, value: Any) -> bool:
    """Return whether a value is short, no path, and too small to make a step endless."""
    if name == "max_episode_steps":
        return type(value) is int and 1 <= value <= MAX_STEPS
    if isinstance(value, list | tuple):
        flat = not any(isinstance(item, list | tuple) for item in value)
        return flat and len(value) <= MAX_ITEMS and all(_is_plain(name, item) for item in value)
    if isinstance(value, str):
        return WORD.fullmatch(value) is not None
    most = MAX_FRAME_SKIP if name in ("frameskip", "frame_skip") else MAX_NUMBER
    return value is None or (isinstance(value, int | float) and -most <= value <= most)
