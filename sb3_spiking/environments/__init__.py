"""Environments: games with their wrappers, recipes of environments, and the environments that files name."""

from sb3_spiking.environments.games import (
    MINATAR_GAMES,
    GridToImage,
    make_atari_env,
    make_minatar_env,
    register_minatar,
)

__all__ = ["MINATAR_GAMES", "GridToImage", "make_atari_env", "make_minatar_env"]

register_minatar()
