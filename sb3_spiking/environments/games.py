"""MinAtar and Atari environments for convolutional policies."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import WrapperSpec
from gymnasium.utils import RecordConstructorArgs
from stable_baselines3.common import env_util
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from sb3_spiking.extras import install_hint
from sb3_spiking.notices import warn

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
PUBLISHED_FRAME_SKIP = 4


class GridToImage(gym.ObservationWrapper, RecordConstructorArgs):
    """
    Convert boolean grids, channels last, to images that SB3 recognises: uint8 of 0 and 255, channels first.

    :param env: environment with boolean observations ``[height, width, channels]``, such as MinAtar's
    :raises ValueError: if the observations are others
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)  # for ``gym.make(env.spec)``
        gym.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 3 or space.dtype != np.bool_:
            raise ValueError(f"GridToImage takes boolean grids of height x width x channels, not {space}")
        height, width, channels = space.shape
        self.observation_space = spaces.Box(0, 255, (channels, height, width), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """
        Convert a grid to an image.

        :param observation: grid ``[height, width, channels]``
        :return: image ``[channels, height, width]``
        """
        return np.ascontiguousarray(observation.transpose(2, 0, 1)).astype(np.uint8) * np.uint8(255)


def make_minatar_env(game: str, n_envs: int = 1, seed: int | None = None, **kwargs: Any) -> VecEnv:
    """
    Make MinAtar environments (Young and Tian, 2019) for ``SpikingCnnPolicy`` or any CNN of SB3's.

    :param game: ``"asterix"``, ``"breakout"``, ``"freeway"``, ``"seaquest"`` or ``"space_invaders"``
    :param n_envs: number of environments
    :param seed: seed of the first environment; the others follow
    :param kwargs: arguments of MinAtar: ``sticky_action_prob`` (0.1), ``difficulty_ramping`` (True)
    :return: monitored environments with uint8 images of 10 x 10 and the game's minimal action set
    :raises ValueError: if the game is unknown
    :raises ImportError: if MinAtar is not installed
    """
    if game not in MINATAR_GAMES:
        raise ValueError(f"game={game!r} is unknown; choose one of: {', '.join(map(repr, MINATAR_GAMES))}")
    return env_util.make_vec_env(lambda: gym.make(f"minatar-{game}", **kwargs), n_envs, seed)


def minatar_game(game: str, sticky_action_prob: float = 0.1, difficulty_ramping: bool = True, **kwargs: Any) -> gym.Env:
    """
    Make a MinAtar game with its minimal action set and boolean grids, channels last.

    Its signature names the arguments that files may set, see `guarded`.

    :raises ImportError: if MinAtar is not installed
    """
    try:
        from minatar.gym import BaseEnv
    except ImportError as error:
        raise ImportError(f"MinAtar is not installed; {install_hint('minatar')}") from error
    options = {"sticky_action_prob": sticky_action_prob, "difficulty_ramping": difficulty_ramping, **kwargs}
    return BaseEnv(game, use_minimal_action_set=True, **options)


def register_minatar() -> None:
    """Register MinAtar's games as images with gymnasium: ``gym.make("minatar-breakout")``."""
    image = WrapperSpec("GridToImage", "sb3_spiking.environments:GridToImage", kwargs={})
    for game in MINATAR_GAMES:
        gym.register(
            f"minatar-{game}",
            "sb3_spiking.environments.games:minatar_game",
            kwargs={"game": game},
            order_enforce=False,
            disable_env_checker=True,
            additional_wrappers=(image,),
        )


def make_atari_env(
    env_id: str,
    n_envs: int = 1,
    seed: int | None = None,
    n_stack: int = 4,
    env_kwargs: dict[str, Any] | None = None,
    wrapper_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> VecEnv:
    """
    Make Atari environments with SB3's ``make_atari_env``, stack their frames and check the frame skip.

    ``ALE/...-v5`` skips 4 frames itself and SB3's ``AtariWrapper`` skips 4 more. Results are published for 4 frames per
    action, so a warning tells of 16.

    :param env_id: id of the game, for example ``"PongNoFrameskip-v4"``
    :param n_envs: number of environments
    :param seed: seed of the first environment; the others follow
    :param n_stack: number of stacked frames
    :param env_kwargs: arguments of the environment
    :param wrapper_kwargs: arguments of ``AtariWrapper``
    :param kwargs: further arguments of SB3's ``make_atari_env``
    :return: environments with uint8 images of 84 x 84
    :raises ImportError: if ale-py is not installed
    """
    try:
        import ale_py  # noqa: F401 (registers its environments)
    except ImportError as error:
        raise ImportError(f"ale-py is not installed; {install_hint('atari')}") from error
    frames = frames_per_action(env_id, env_kwargs, wrapper_kwargs)
    if frames != PUBLISHED_FRAME_SKIP:
        warn(
            f"{frames} frames pass for each action in {env_id}, the environment's own skip times AtariWrapper's; "
            f"figures are published for {PUBLISHED_FRAME_SKIP}. Use a NoFrameskip-v4 environment, or "
            "env_kwargs=dict(frameskip=1, repeat_action_probability=0.0).",
        )
    env = env_util.make_atari_env(env_id, n_envs, seed, env_kwargs=env_kwargs, wrapper_kwargs=wrapper_kwargs, **kwargs)
    return VecFrameStack(env, n_stack)


def frames_per_action(
    env_id: str, env_kwargs: dict[str, Any] | None = None, wrapper_kwargs: dict[str, Any] | None = None
) -> int:
    """
    Return the number of frames per action: the environment's own frame skip times the one of ``AtariWrapper``.

    :param env_id: id of a registered Atari environment
    :param env_kwargs: arguments of the environment
    :param wrapper_kwargs: arguments of ``AtariWrapper``
    """
    own = {**gym.spec(env_id).kwargs, **(env_kwargs or {})}.get("frameskip", PUBLISHED_FRAME_SKIP)
    # Old environments draw the skip from a range: count the longest.
    own = max(own) if isinstance(own, tuple) else own
    return own * (wrapper_kwargs or {}).get("frame_skip", PUBLISHED_FRAME_SKIP)
