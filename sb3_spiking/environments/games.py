"""MinAtar and Atari environments as spiking convolutions want them."""

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
    Boolean grids, channels last, as images that SB3 recognises: uint8 of 0 and 255, channels first.

    :param env: an environment whose observations are boolean ``[height, width, channels]``, such as MinAtar's
    :raises ValueError: if its observations are others
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
        Turn a grid into an image.

        :param observation: ``[height, width, channels]``
        :return: ``[channels, height, width]``
        """
        return np.ascontiguousarray(observation.transpose(2, 0, 1)).astype(np.uint8) * np.uint8(255)


def make_minatar_env(game: str, n_envs: int = 1, seed: int | None = None, **kwargs: Any) -> VecEnv:
    """
    Make MinAtar environments (Young and Tian, 2019) for ``SpikingCnnPolicy`` or any CNN of SB3's.

    :param game: ``"asterix"``, ``"breakout"``, ``"freeway"``, ``"seaquest"`` or ``"space_invaders"``
    :param n_envs: number of environments
    :param seed: seed of the first; the others follow
    :param kwargs: MinAtar's own: ``sticky_action_prob`` (0.1), ``difficulty_ramping`` (True)
    :return: monitored environments with uint8 images of 10 x 10 and the game's minimal action set
    :raises ValueError: if there is no such game
    :raises ImportError: if MinAtar is not installed
    """
    if game not in MINATAR_GAMES:
        raise ValueError(f"game={game!r} is unknown; choose one of: {', '.join(map(repr, MINATAR_GAMES))}")
    return env_util.make_vec_env(lambda: gym.make(f"minatar-{game}", **kwargs), n_envs, seed)


def minatar_game(game: str, sticky_action_prob: float = 0.1, difficulty_ramping: bool = True, **kwargs: Any) -> gym.Env:
    """
    Make a MinAtar game with its minimal action set; boolean grids, channels last.

    :param game: one of ``MINATAR_GAMES``
    :param sticky_action_prob: probability of repeating the last action
    :param difficulty_ramping: whether the game becomes harder
    :param kwargs: further arguments of MinAtar
    :return: the game
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
    Make Atari environments with SB3's ``make_atari_env`` and a stack of frames, and look at the frame skip.

    ``ALE/...-v5`` skips 4 frames itself and SB3's ``AtariWrapper`` skips 4 more: 16 frames pass for each action, which
    no published figure means. That is warned about.

    :param env_id: for example ``"PongNoFrameskip-v4"``
    :param n_envs: number of environments
    :param seed: seed of the first; the others follow
    :param n_stack: frames that the agent sees at once
    :param env_kwargs: for the environment
    :param wrapper_kwargs: for ``AtariWrapper``
    :param kwargs: for SB3's ``make_atari_env``
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
    Tell how many frames of a game pass for each action of the agent under SB3's ``AtariWrapper``.

    :param env_id: an Atari environment that is registered
    :param env_kwargs: for the environment
    :param wrapper_kwargs: for ``AtariWrapper``
    :return: the environment's own frame skip times the wrapper's
    """
    own = {**gym.spec(env_id).kwargs, **(env_kwargs or {})}.get("frameskip", PUBLISHED_FRAME_SKIP)
    # A range, from which the old environments draw, counts by its longest skip.
    own = max(own) if isinstance(own, tuple) else own
    return own * (wrapper_kwargs or {}).get("frame_skip", PUBLISHED_FRAME_SKIP)
