"""Recipes of environments: make them as SB3 shows them to an agent, and check that they fit it."""

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize

from sb3_spiking.environments import make_atari_env
from sb3_spiking.errors import Argument, InputError
from sb3_spiking.extras import install_hint
from sb3_spiking.reading.vec_normalize import NormalizationStatistics, read_vec_normalize

MAX_FRAMES = 256
"""Upper bound of a frame stack; published agents use 4."""
KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}
ENV, PACKAGE = Argument("env"), Argument("env", "package:id")


class EnvError(InputError):
    """An environment that is unknown, cannot be made or does not fit the agent."""


@dataclass(frozen=True)
class EnvRecipe:
    """
    Recipe of an environment.

    :param id: id of gymnasium, also ``package:id``; ``minatar-<game>`` for MinAtar's games as images
    :param kwargs: arguments of the environment, as JSON has them
    :param atari: whether to apply SB3's ``AtariWrapper``
    :param frame_stack: number of stacked observations; 0 and 1 stack none
    :param vec_normalize: file of ``VecNormalize.save``
    :raises EnvError: if a value is not allowed
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    atari: bool = False
    frame_stack: int = 0
    vec_normalize: Path | None = None

    def __post_init__(self) -> None:
        if not _is_json_object(self.kwargs):
            raise EnvError(Argument("kwargs", self.kwargs), " must be a JSON object")
        if type(self.frame_stack) is not int or not 0 <= self.frame_stack <= MAX_FRAMES:
            frames = Argument("frame_stack", self.frame_stack)
            raise EnvError(frames, f" must be a number of frames from 0 to {MAX_FRAMES}")

    def __str__(self) -> str:
        return ", ".join(map(str, self.arguments()))

    def arguments(self) -> list[Argument]:
        """Return the arguments that differ from their defaults; the id is called ``env``."""
        values = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        return [Argument("env", self.id), *(Argument(name, value) for name, value in values.items() if value)]

    def make(self, n_envs: int, seed: int) -> VecEnv:
        """
        Make monitored environments with the observations that SB3's algorithms show their policies.

        Normalisation is frozen, rewards are unchanged, images have their channels first.

        :param n_envs: number of environments
        :param seed: seed of the first environment; the others follow
        :return: vectorised environments
        :raises EnvError: if the environment is unknown or cannot be made in this way
        """
        _register_atari()
        try:
            statistics = read_vec_normalize(self.vec_normalize) if self.vec_normalize else None
            return _observed(self._raw(n_envs, seed), self.frame_stack, statistics)
        except gym.error.UnregisteredEnv as error:
            raise EnvError(Argument("env", self.id), *_unknown(self.id)) from error
        except Exception as error:  # an environment may fail in any way
            raise EnvError(self, " cannot be made: ", reason_of(error)) from error

    def _raw(self, n_envs: int, seed: int) -> VecEnv:
        kwargs = dict(self.kwargs)
        if self.atari:
            if find_spec("cv2") is None:  # SB3 would notice at the first reset
                raise ImportError(f"OpenCV is not installed; {install_hint('atari')}")
            try:
                return make_atari_env(self.id, n_envs, seed, n_stack=1, env_kwargs=kwargs)
            except AttributeError as error:
                raise EnvError(f"it is no game of Atari, {error}; leave ", Argument("atari"), " out") from error
        return make_vec_env(lambda: gym.make(self.id, **kwargs), n_envs, seed)


AnyEnv: TypeAlias = gym.Env | VecEnv | EnvRecipe | str
"""An environment or several, their recipe, or their id."""


def check_spaces(env: EnvRecipe | VecEnv, observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """
    Check that an environment has an agent's spaces; bounds and precision may differ.

    :param env: environment, or its recipe
    :param observation_space: the agent's observation space
    :param action_space: the agent's action space
    :raises EnvError: if the spaces differ, or the environment cannot be made
    """
    if isinstance(env, EnvRecipe):
        with closing(env.make(n_envs=1, seed=0)) as made:
            check_spaces(made, observation_space, action_space)
        return
    pairs = {"observes": (env.observation_space, observation_space), "acts in": (env.action_space, action_space)}
    for does, (own, agents) in pairs.items():
        if _layout(own) != _layout(agents):
            raise EnvError(
                *(ENV, f" does not fit the agent: it {does} {_layout(own)}, the agent {_layout(agents)}; "),
                *(Argument("kwargs"), ", ", Argument("atari"), " and ", Argument("frame_stack"), " change what it is"),
            )


def _layout(space: spaces.Space) -> str:
    """Describe a space by its type, shape and kind of numbers, on which a network depends."""
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
    # rl_zoo3 normalises before it stacks, others afterwards: the shape of the statistics determines the order.
    if statistics is not None and statistics.fits(env.observation_space):
        env, statistics = statistics.normalize(env), None
    if frame_stack > 1:
        env = VecFrameStack(env, frame_stack)
    if statistics is not None:
        env = statistics.normalize(env)
    return BaseAlgorithm._wrap_env(env)  # as every algorithm of SB3 does


def _register_atari() -> None:
    with suppress(ImportError):
        import ale_py  # noqa: F401 (registers its environments)


def known_ids() -> list[str]:
    """Return the registered ids, Atari's included where ale-py is installed."""
    _register_atari()
    return [*gym.registry]


def _unknown(env_id: str) -> tuple[object, ...]:
    if find_spec("ale_py") is None and (env_id.startswith("ALE/") or "NoFrameskip" in env_id):
        return (f" is a game of Atari, and ale-py is not installed; {install_hint('atari')}",)
    if close := difflib.get_close_matches(env_id, known_ids(), cutoff=0.7):
        return (f" is unknown; did you mean {' or '.join(close)}?",)
    return " is unknown; name its package with it: ", PACKAGE


def _is_json_object(value: object) -> bool:
    with suppress(TypeError, ValueError):
        return isinstance(value, Mapping) and bool(json.dumps(value))
    return False


def reason_of(error: Exception) -> Exception | str:
    """Return an error, or its name where it has no text."""
    return error if str(error) else type(error).__name__


def given(env: AnyEnv, name: str = "env") -> VecEnv | EnvRecipe:
    """
    Return given environments as SB3's algorithms wrap them, or the recipe of a named one.

    :param env: an environment or several, their recipe, or their id
    :param name: name of the argument, for the error
    :raises EnvError: if it is something else, or the recipe is not allowed
    """
    if isinstance(env, gym.Env | VecEnv):
        return BaseAlgorithm._wrap_env(env)
    if isinstance(env, str):
        return EnvRecipe(env)
    if isinstance(env, EnvRecipe):
        return env
    raise EnvError(Argument(name, env), " must be an environment, its id or its recipe")


@contextmanager
def environments(
    env: AnyEnv, observation_space: spaces.Space, action_space: spaces.Space, n_envs: int, seed: int
) -> Iterator[VecEnv]:
    """
    Make environments and close them at the end; given ones stay open, with their statistics frozen meanwhile.

    :param env: an environment or several, their recipe, or their id
    :param observation_space: the agent's observation space
    :param action_space: the agent's action space
    :param n_envs: number of environments to make
    :param seed: seed of the first environment
    :raises EnvError: if the environment cannot be made or does not fit the agent
    """
    env = given(env)
    if isinstance(env, VecEnv):
        check_spaces(env, observation_space, action_space)
        with frozen_statistics(env):
            yield env
        return
    with closing(env.make(n_envs, seed)) as made:
        check_spaces(made, observation_space, action_space)
        yield made


@contextmanager
def frozen_statistics(env: VecEnv) -> Iterator[None]:
    """
    Keep the statistics of ``VecNormalize`` as they are, and rewards unchanged; restore its settings at the end.

    :param env: environments, with or without ``VecNormalize``
    """
    found: list[VecNormalize] = []
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecNormalize):
            found.append(env)
        env = env.venv
    before = [(each.training, each.norm_reward) for each in found]
    for each in found:
        each.training = each.norm_reward = False
    try:
        yield
    finally:
        for each, (training, norm_reward) in zip(found, before, strict=True):
            each.training, each.norm_reward = training, norm_reward
