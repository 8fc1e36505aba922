"""The environment an agent lives in: how to make it, and which one a file names."""

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from sb3_spiking.conversion.reading.archive import printable
from sb3_spiking.conversion.reading.vec_normalize import NormalizationStatistics, read_vec_normalize
from sb3_spiking.environments import MINATAR_GAMES, make_atari_env, make_minatar_env

MINATAR = "minatar-"
ATARI_WRAPPER = "stable_baselines3.common.atari_wrappers.AtariWrapper"
ATARI_FRAME = (84, 84)
ATARI_EXTRA = 'pip install "sb3-spiking[atari]"'
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl")
"""As rl_zoo3 calls them in its folders, and on the Hub."""
KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}


class EnvError(ValueError):
    """No such environment, or not the agent's; its text is one printable line, whatever a stranger's file names."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


@dataclass(frozen=True)
class EnvSpec:
    """
    How to make the environment an agent lives in; as a string, the options that say so.

    :param id: an id of gymnasium, also ``package:id``, or ``minatar-<game>``
    :param kwargs: for the environment; what JSON can hold
    :param atari: whether SB3's ``AtariWrapper`` goes around it
    :param frame_stack: observations that the agent sees at once; 0 and 1 stack none
    :param vec_normalize: what ``VecNormalize.save`` wrote
    :raises EnvError: if a value is not allowed
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    atari: bool = False
    frame_stack: int = 0
    vec_normalize: Path | None = None

    def __post_init__(self) -> None:
        if not _is_json_object(self.kwargs):
            raise EnvError(f"--env-kwargs {self.kwargs!r} must be a JSON object")
        if not isinstance(self.frame_stack, int) or self.frame_stack < 0:
            raise EnvError(f"--frame-stack {self.frame_stack!r} must be a number of frames, 0 or more")
        if self.atari and self.id.startswith(MINATAR):
            raise EnvError(f"--atari is for Atari games; leave it out with --env {self.id}")

    def __str__(self) -> str:
        words = ["--env", self.id]
        words += ["--env-kwargs", json.dumps(self.kwargs)] if self.kwargs else []
        words += ["--atari"] if self.atari else []
        words += ["--frame-stack", str(self.frame_stack)] if self.frame_stack else []
        words += ["--vec-normalize", str(self.vec_normalize)] if self.vec_normalize else []
        return shlex.join(words)

    def make(self, n_envs: int, seed: int) -> VecEnv:
        """
        Make it, monitored, with the observations that SB3's algorithm shows its policy.

        Normalisation is frozen, rewards are left alone, images have their channels first.

        :param n_envs: number of environments
        :param seed: seed of the first; the others follow
        :return: the environments
        :raises EnvError: if it is unknown, or refuses to be made this way
        """
        _register_atari()
        try:
            statistics = read_vec_normalize(self.vec_normalize) if self.vec_normalize else None
            return _observed(self._raw(n_envs, seed), self.frame_stack, statistics)
        except gym.error.UnregisteredEnv as error:
            raise EnvError(_unknown(self.id)) from error
        except Exception as error:  # an environment may fail in any way
            raise EnvError(f"{self} cannot be made: {_reason(error)}") from error

    def _raw(self, n_envs: int, seed: int) -> VecEnv:
        kwargs = dict(self.kwargs)
        if self.id.startswith(MINATAR):
            return make_minatar_env(self.id.removeprefix(MINATAR), n_envs, seed, **kwargs)
        if self.atari:
            if find_spec("cv2") is None:  # SB3 would notice at the first reset
                raise ImportError(f"OpenCV is not installed; {ATARI_EXTRA}")
            try:
                return make_atari_env(self.id, n_envs, seed, n_stack=1, env_kwargs=kwargs)
            except AttributeError as error:
                raise TypeError(f"it is no game of Atari, {error}; leave --atari out") from error
        return make_vec_env(lambda: gym.make(self.id, **kwargs), n_envs, seed)


@dataclass(frozen=True)
class Found:
    """
    What a file tells about its agent's environment.

    :param spec: the environment, None if what is named cannot be used
    :param text: one line: what names it, and why it is not used
    """

    spec: EnvSpec | None
    text: str


def find_env(path: Path, observation_space: spaces.Space, action_space: spaces.Space) -> Found | None:
    """
    Find the environment that the folder of rl_zoo3 around a file names, or else its path; nothing is executed.

    :param path: the agent's file
    :param observation_space: the agent's
    :param action_space: the agent's
    :return: what was found, None if nothing names an environment
    """
    run = _zoo_folder(path)
    if run is not None:
        # The path would name the same environment, but not what goes around it.
        try:
            return _judge(str(run / "args.yml"), _zoo_spec(run), observation_space, action_space)
        except EnvError as error:
            return Found(None, str(error))
    refused = None
    ids = _known_ids()
    for name in [path.name, *(parent.name for parent in path.absolute().parents)]:
        env_id = _id_in(name, ids)
        if env_id is not None:
            found = _judge(name, _spec_by_name(env_id, observation_space), observation_space, action_space)
            if found.spec is not None:
                return found
            refused = refused or found
    return refused


def check_spaces(env: EnvSpec | VecEnv, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """
    Check that an agent can live in an environment: bounds and precision may differ, all else not.

    :param env: the environment, or how to make it
    :param observation_space: the agent's
    :param action_space: the agent's
    :raises EnvError: if it cannot, or if there is no such environment
    """
    if isinstance(env, EnvSpec):
        with closing(env.make(n_envs=1, seed=0)) as made:
            check_spaces(made, observation_space, action_space)
        return
    pairs = {"observes": (env.observation_space, observation_space), "acts in": (env.action_space, action_space)}
    for does, (own, agents) in pairs.items():
        if _layout(own) != _layout(agents):
            raise EnvError(
                f"--env does not fit the agent: it {does} {_layout(own)}, the agent {_layout(agents)}; "
                "--env-kwargs, --atari and --frame-stack change what it is"
            )


def _layout(space: spaces.Space) -> str:
    """Describe what of a space a network depends on."""
    match space:
        case spaces.Dict():
            return f"Dict({', '.join(f'{key}: {_layout(part)}' for key, part in sorted(space.spaces.items()))})"
        case spaces.Discrete():
            return f"Discrete({space.n})"
        case spaces.MultiDiscrete():
            return f"MultiDiscrete({space.nvec.tolist()})"
        case _:
            kind = np.dtype(space.dtype).kind
            return f"{type(space).__name__}{space.shape} of {KINDS.get(kind, kind)}"


def _observed(env: VecEnv, frame_stack: int, statistics: NormalizationStatistics | None) -> VecEnv:
    # rl_zoo3 normalises before it stacks, others afterwards: the statistics' shape tells.
    if statistics is not None and statistics.fits(env.observation_space):
        env, statistics = statistics.normalize(env), None
    if frame_stack > 1:
        env = VecFrameStack(env, frame_stack)
    if statistics is not None:
        env = statistics.normalize(env)
    return BaseAlgorithm._wrap_env(env)  # what every algorithm does to its environment


def _register_atari() -> None:
    with suppress(ImportError):
        import ale_py  # noqa: F401 (registers its environments)


def _known_ids() -> list[str]:
    _register_atari()
    return [*gym.registry, *(MINATAR + game for game in MINATAR_GAMES)]


def _unknown(env_id: str) -> str:
    if find_spec("ale_py") is None and (env_id.startswith("ALE/") or "NoFrameskip" in env_id):
        return f"--env {env_id} is a game of Atari, and ale-py is not installed; {ATARI_EXTRA}"
    close = difflib.get_close_matches(env_id, _known_ids(), cutoff=0.7)
    way_out = f"did you mean {' or '.join(close)}?" if close else "name its package with it: --env package:id"
    return f"--env {env_id} is unknown; {way_out}"


def _judge(source: str, spec: EnvSpec, observation_space: spaces.Space, action_space: spaces.Space) -> Found:
    try:
        check_spaces(spec, observation_space, action_space)
    except EnvError as error:
        return Found(None, printable(f"{source} names {spec}, not used: {error}"))
    return Found(spec, printable(f"{source} names {spec}"))


def _id_in(name: str, ids: Iterable[str]) -> str | None:
    """Return the longest id in a file's name, where a known environment may be of another version."""
    words = {env_id: env_id.replace("/", "-") for env_id in ids}
    bounded = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
    named = [key for key, word in words.items() if word in name and re.search(bounded.format(re.escape(word)), name)]
    unversioned = {env_id.rpartition("-v")[0] for env_id in words}
    named += [match[0] for match in re.finditer(r"([A-Za-z0-9]+)-v\d+(?![A-Za-z0-9])", name) if match[1] in unversioned]
    return max(named, key=len, default=None)


def _spec_by_name(env_id: str, observation_space: spaces.Space) -> EnvSpec:
    """Return what an id alone tells; an agent that sees frames of AtariWrapper had it."""
    registered = gym.registry.get(env_id)
    shape: tuple[int, ...] = observation_space.shape or ()
    if registered is not None and "AtariEnv" in str(registered.entry_point) and shape[1:] == ATARI_FRAME:
        return EnvSpec(env_id, atari=True, frame_stack=shape[0])
    return EnvSpec(env_id)


def _zoo_folder(path: Path) -> Path | None:
    """Return where rl_zoo3 keeps the settings: ``<id>`` in the run ``<id>_<number>``; beside the file on the Hub."""
    run = path.absolute().parent
    inside = [file.parent for file in run.glob("*/args.yml") if run.name.startswith(f"{file.parent.name}_")]
    folders = [run / path.stem, *sorted(inside), run]
    return next((folder for folder in folders if (folder / "args.yml").is_file()), None)


def _zoo_spec(folder: Path) -> EnvSpec:
    args, config = _read_yaml(folder / "args.yml"), _read_yaml(folder / "config.yml")
    env_id = args.get("env")
    # gymnasium would import the package that a stranger names, here or in the kwargs of its adapters to gym.
    if not isinstance(env_id, str) or ":" in env_id or env_id.startswith("GymV"):
        raise EnvError(f"{folder / 'args.yml'} names the environment {env_id!r}, not used; pass --env if you trust it")
    statistics = next((folder / name for name in STATISTICS if (folder / name).is_file()), None)
    if config.get("normalize") and statistics is None:
        raise EnvError(f"{folder / 'config.yml'} says normalize, but there is no {STATISTICS[0]}; pass --env")
    return EnvSpec(
        env_id,
        args.get("env_kwargs") or {},
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
            "register the wrapped environment and pass --env package:id"
        )
    return bool(wrappers)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise EnvError(
            f"{path} is read with PyYAML, which is not installed; pip install pyyaml, or pass --env"
        ) from error

    class InertLoader(yaml.SafeLoader):
        """Reads ordered mappings and tuples as such; what else is Python's stays an unread node."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            # A few lines of them can stand for gigabytes.
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
        content = yaml.load(path.read_text(encoding="utf-8"), InertLoader)
    except Exception as error:  # a stranger's file may fail in any way
        raise EnvError(f"{path} is not read: {_reason(error)}") from error
    if not isinstance(content, dict):
        raise EnvError(f"{path} holds no settings; pass --env")
    return content


def _is_json_object(value: object) -> bool:
    with suppress(TypeError, ValueError):
        return isinstance(value, Mapping) and bool(json.dumps(value))
    return False


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def environments(
    env: VecEnv | EnvSpec | str, observation_space: spaces.Space, action_space: spaces.Space, n_envs: int, seed: int
) -> Iterator[VecEnv]:
    """
    Make environments for a while; those that are there already stay as they are.

    :param env: environments, how to make them, or their id
    :param observation_space: the agent's
    :param action_space: the agent's
    :param n_envs: how many to make
    :param seed: of the first
    :raises EnvError: if there is no such environment, or it is not the agent's
    """
    if isinstance(env, VecEnv):
        check_spaces(env, observation_space, action_space)
        yield env
        return
    with closing((EnvSpec(env) if isinstance(env, str) else env).make(n_envs, seed)) as made:
        check_spaces(made, observation_space, action_space)
        yield made
