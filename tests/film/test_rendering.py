import os

import numpy as np
from gymnasium import spaces

from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.film.rendering import rendering

SPACES = (spaces.Box(-np.inf, np.inf, (4,)), spaces.Discrete(2))


def test_mujoco_is_told_to_draw_without_a_screen(pictured, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for screen, expected in (("", "egl"), (":0", None)):
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.setenv("DISPLAY", screen)
        monkeypatch.setenv("MUJOCO_GL", "")
        monkeypatch.delenv("MUJOCO_GL")
        with rendering(EnvRecipe("Pictured-v0"), *SPACES, 0):
            assert os.environ.get("MUJOCO_GL") == expected
        assert "MUJOCO_GL" not in os.environ
