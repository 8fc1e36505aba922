"""Environments: MinAtar and Atari games, recipes that make environments, and environments named by files."""

from sb3_spiking.environments.games import (
    MINATAR_GAMES,
    GridToImage,
    make_atari_env,
    make_minatar_env,
    register_minatar,
)

__all__ = ["MINATAR_GAMES", "GridToImage", "make_atari_env", "make_minatar_env"]

register_minatar()
