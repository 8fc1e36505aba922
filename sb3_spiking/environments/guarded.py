"""Environments that a file names: which of them are made, and with which arguments."""

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
"""Whose environments may get arguments from a file: what they do with them is known."""
MAX_STEPS, MAX_NUMBER, MAX_FRAME_SKIP, MAX_ITEMS, MAX_PATH = 1_000_000, 1e6, 100, 64, 4096
ADAPTERS = "GymV"
"""How the ids of gymnasium's adapters to gym begin; they import what their arguments name."""
WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""A text that is no path and no module."""


def named_recipe(
    source: object,
    env_id: Any,
    kwargs: Any = None,
    atari: bool = False,
    frame_stack: int = 0,
    vec_normalize: Path | None = None,
) -> EnvRecipe:
    """
    Return the environment that a file names; nothing that the file names is imported or opened for it.

    :param source: the file, for the error
    :param env_id: must be registered, and nobody's adapter to something else
    :param kwargs: must be plain values for arguments that the environment has, None for none
    :param atari: see `EnvRecipe`
    :param frame_stack: see `EnvRecipe`
    :param vec_normalize: a file that was found beside the agent's
    :return: the environment
    :raises EnvError: if it is not made from files, or gets something from them that it should not
    """
    # gymnasium would import the package that a stranger names, here or in the kwargs of its adapters to gym.
    if not isinstance(env_id, str) or len(env_id) > 200 or ":" in env_id or env_id.startswith(ADAPTERS):
        raise EnvError(f"{source} names the environment {env_id!r}, not used; pass ", ENV, " if you trust it")
    if not isinstance(kwargs, Mapping | None):
        raise EnvError(f"{source}: the arguments of {env_id} are no mapping; pass ", ENV)
    if kwargs:
        _check_arguments(source, env_id, kwargs)
    return EnvRecipe(env_id, kwargs or {}, atari, frame_stack, vec_normalize)


def noted_recipe(path: Path, noted: Any, vec_normalize: Path | None = None) -> EnvRecipe:
    """
    Return the environment that was noted in a converted file.

    :param path: the file
    :param noted: what is noted of it
    :param vec_normalize: statistics that the user names; those that are noted are taken only from the file's own folder
    :return: the environment
    :raises ValueError: if it is not made from files, or its statistics are elsewhere
    """
    with reading(path):
        record = Record(noted, "origin.env")
        kwargs, atari = record.record("kwargs").fields, record.flag("atari")
        frame_stack, env_id = record.whole("frame_stack", 0, MAX_FRAMES), record.text("id")
        if vec_normalize is None and record.get("vec_normalize") is not None:
            vec_normalize = _beside(path, Path(record.text("vec_normalize", MAX_PATH)))
    return named_recipe(path, env_id, kwargs, atari, frame_stack, vec_normalize)


def _beside(path: Path, noted: Path) -> Path:
    """Return statistics in the folder of a file, or below it; others may be anything on this machine."""
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
    """Return which arguments an environment takes; of unknown packages, none."""
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
    """Return whether a value is short, no path, and makes no step take for ever."""
    if name == "max_episode_steps":
        return type(value) is int and 1 <= value <= MAX_STEPS
    if isinstance(value, list | tuple):
        flat = not any(isinstance(item, list | tuple) for item in value)
        return flat and len(value) <= MAX_ITEMS and all(_is_plain(name, item) for item in value)
    if isinstance(value, str):
        return WORD.fullmatch(value) is not None
    most = MAX_FRAME_SKIP if name in ("frameskip", "frame_skip") else MAX_NUMBER
    return value is None or (isinstance(value, int | float) and -most <= value <= most)
