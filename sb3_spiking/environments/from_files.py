"""Environments named by agents' files: in rl_zoo3's settings beside them, or in their paths."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from sb3_spiking.environments.guarded import ADAPTERS, named_recipe
from sb3_spiking.environments.recipe import ENV, PACKAGE, EnvError, EnvRecipe, check_spaces, known_ids, reason_of
from sb3_spiking.printable import one_line
from sb3_spiking.reading.regular_files import read_file

ATARI_WRAPPER = "stable_baselines3.common.atari_wrappers.AtariWrapper"
ATARI_FRAME = (84, 84)
MAX_SETTINGS = 2**16
"""Bytes of a settings file; rl_zoo3's have some 1000, and PyYAML takes a minute for a megabyte."""
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
"""Names of statistics in rl_zoo3's folders, and on the Hub."""


@dataclass(frozen=True)
class FileEnv:
    """
    Environment named by an agent's file.

    :param recipe: recipe of the environment, None if it cannot be used
    :param parts: explanation in the parts of an `InputError`: the place of the name, and the reason against its use
    """

    recipe: EnvRecipe | None
    parts: tuple[object, ...]

    @property
    def text(self) -> str:
        """The explanation in one line."""
        return one_line("".join(map(str, self.parts)))


def find_env(path: Path, observation_space: spaces.Space, action_space: spaces.Space) -> FileEnv | None:
    """
    Find the environment named by rl_zoo3's folder around an agent's file, or else by the path of the file.

    Nothing is executed.

    :return: the environment, None if nothing names one
    """
    run = _zoo_folder(path)
    if run is not None:
        # The path would name the same environment, but not its wrappers.
        try:
            return _judge(str(run / "args.yml"), _zoo_recipe(run), observation_space, action_space)
        except EnvError as error:
            return FileEnv(None, error.parts)
    refused = None
    ids = known_ids()
    for name in [path.name, *(parent.name for parent in path.absolute().parents)]:
        env_id = _id_in(name, ids)
        if env_id is not None and not env_id.startswith(ADAPTERS):
            found = _judge(name, _recipe_by_name(env_id, observation_space), observation_space, action_space)
            if found.recipe is not None:
                return found
            refused = refused or found
    return refused


def _judge(source: str, recipe: EnvRecipe, observation_space: spaces.Space, action_space: spaces.Space) -> FileEnv:
    try:
        check_spaces(recipe, observation_space, action_space)
    except EnvError as error:
        return FileEnv(None, (f"{source} names ", recipe, ", not used: ", error))
    return FileEnv(recipe, (f"{source} names ", recipe))


def _id_in(name: str, ids: Iterable[str]) -> str | None:
    """Return the longest id in a file's name; known environments count in any version."""
    words = {env_id: env_id.replace("/", "-") for env_id in ids}
    bounded = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
    named = [key for key, word in words.items() if word in name and re.search(bounded.format(re.escape(word)), name)]
    unversioned = {env_id.rpartition("-v")[0] for env_id in words}
    named += [match[0] for match in re.finditer(r"([A-Za-z0-9]+)-v\d+(?![A-Za-z0-9])", name) if match[1] in unversioned]
    return max(named, key=len, default=None)


def _recipe_by_name(env_id: str, observation_space: spaces.Space) -> EnvRecipe:
    """Return the recipe of an id alone; observations of AtariWrapper's shape tell that it was applied."""
    registered = gym.registry.get(env_id)
    shape: tuple[int, ...] = observation_space.shape or ()
    if registered is not None and "AtariEnv" in str(registered.entry_point) and shape[1:] == ATARI_FRAME:
        return EnvRecipe(env_id, atari=True, frame_stack=shape[0])
    return EnvRecipe(env_id)


def _zoo_folder(path: Path) -> Path | None:
    """Return rl_zoo3's folder of settings: ``<id>`` in the run ``<id>_<number>``, or the file's folder on the Hub."""
    run = path.absolute().parent
    inside = [file.parent for file in run.glob("*/args.yml") if run.name.startswith(f"{file.parent.name}_")]
    folders = [run / path.stem, *sorted(inside), run]
    return next((folder for folder in folders if (folder / "args.yml").is_file()), None)


def _zoo_recipe(folder: Path) -> EnvRecipe:
    args, config = _read_yaml(folder / "args.yml"), _read_yaml(folder / "config.yml")
    statistics = next((folder / name for name in STATISTICS if (folder / name).is_file()), None)
    if config.get("normalize") and statistics is None:
        raise EnvError(f"{folder / 'config.yml'} says normalize, but there is no {STATISTICS[0]}; pass ", ENV)
    return named_recipe(
        folder / "args.yml",
        args.get("env"),
        args.get("env_kwargs"),
        _has_atari_wrapper(folder / "config.yml", config),
        config.get("frame_stack") or 0,
        statistics,
    )


def _has_atari_wrapper(path: Path, config: dict[str, Any]) -> bool:
    wrappers = config.get("env_wrapper") or []
    wrappers = wrappers if isinstance(wrappers, list) else [wrappers]
    others = [name for name in [*wrappers, config.get("vec_env_wrapper")] if name not in (None, ATARI_WRAPPER)]
    if others:
        raise EnvError(
            f"{path} wraps the environment in {others}, which is not imported from there; "
            "register the wrapped environment and pass ",
            PACKAGE,
        )
    return bool(wrappers)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise EnvError(
            f"{path} is read with PyYAML, which is not installed; pip install pyyaml, or pass ", ENV
        ) from error

    class InertLoader(yaml.SafeLoader):
        """Reads ordered mappings and tuples as such; other tags of Python stay unread nodes."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            # A few lines of aliases can expand to gigabytes.
            if self.check_event(yaml.AliasEvent):
                raise ValueError("it has aliases, as rl_zoo3 writes none")
            return super().compose_node(parent, index)

    python = "tag:yaml.org,2002:python/"
    InertLoader.add_multi_constructor(python, lambda loader, suffix, node: node)
    for tag, read in {"object/apply:collections.OrderedDict": lambda parts: dict(*parts), "tuple": tuple}.items():
        InertLoader.add_constructor(
            python + tag, lambda loader, node, read=read: read(loader.construct_sequence(node, deep=True))
        )
    try:
        content = yaml.load(read_file(path, MAX_SETTINGS).decode("utf-8"), InertLoader)
    except Exception as error:  # an untrusted file may fail in any way
        raise EnvError(f"{path} is not read: {reason_of(error)}") from error
    if not isinstance(content, dict):
        raise EnvError(f"{path} holds no settings; pass ", ENV)
    return content
