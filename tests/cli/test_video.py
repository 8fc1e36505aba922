"""``evaluate --video`` films what was played, and ``--render`` shows it; neither leaves half a film behind."""

import os
import shutil

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from stable_baselines3 import DQN

from sb3_spiking.cli import main
from sb3_spiking.conversion import convert
from tests.film.environments import SIZE, BlindEnv, PicturedEnv


@pytest.fixture
def snn(tmp_path):
    """Return the file of a small converted DQN."""
    model = DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, buffer_size=100, seed=0)
    path = tmp_path / "snn.zip"
    convert(model, observations=np.zeros((10, 4), np.float32)).save(path)
    gym.register("Pictured-v0", PicturedEnv, max_episode_steps=20)
    gym.register("Blind-v0", BlindEnv, max_episode_steps=20)
    yield path
    del gym.registry["Pictured-v0"], gym.registry["Blind-v0"]


def evaluate(snn, env, *words):
    return main(["evaluate", str(snn), "--env", env, "--episodes", "1", "-q", *map(str, words)])


def test_a_gif_holds_a_frame_for_every_decision(snn, tmp_path):
    path = tmp_path / "film.gif"
    assert evaluate(snn, "Pictured-v0", "--video", path) == 0
    with Image.open(path) as film:
        assert film.size == SIZE[::-1]
        brightness = []
        for frame in range(film.n_frames):
            film.seek(frame)
            assert film.info["duration"] == 20  # ms, of 50 frames per second
            brightness.append(int(np.asarray(film.convert("RGB"))[10, 10, 0]))
    assert 5 < len(brightness) <= 20
    assert brightness == pytest.approx([2 * step for step in range(len(brightness))], abs=1)


def test_an_mp4_is_written_with_ffmpeg(snn, tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    assert evaluate(snn, "Pictured-v0", "--video", tmp_path / "film.mp4") == 0
    assert b"ftyp" in (tmp_path / "film.mp4").read_bytes()[:16]


def test_an_mp4_without_ffmpeg_is_refused_before_anything_is_played(snn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert evaluate(snn, "Pictured-v0", "--video", tmp_path / "film.mp4") == 2
    assert "needs ffmpeg, which is not installed; name a .gif" in capsys.readouterr().err


def test_a_film_is_not_replaced_unasked(snn, tmp_path):
    path = tmp_path / "film.gif"
    path.write_bytes(b"precious")
    assert evaluate(snn, "Pictured-v0", "--video", path) == 2
    assert path.read_bytes() == b"precious"
    assert evaluate(snn, "Pictured-v0", "--video", path, "--force") == 0
    assert path.read_bytes().startswith(b"GIF")


def test_a_film_without_pictures_is_one_clear_line(snn, tmp_path, capsys):
    assert evaluate(snn, "Blind-v0", "--video", tmp_path / "film.gif") == 2
    assert "Blind-v0 renders no images" in capsys.readouterr().err
    assert not list(tmp_path.glob("*film*"))


def test_a_film_needs_no_screen_and_rendering_afterwards_has_one(snn, tmp_path, monkeypatch):
    drivers = []
    render = PicturedEnv.render
    monkeypatch.setattr(
        PicturedEnv, "render", lambda self: drivers.append(os.environ["SDL_VIDEODRIVER"]) or render(self)
    )
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    assert evaluate(snn, "Pictured-v0", "--video", tmp_path / "film.gif") == 0
    assert set(drivers) == {"dummy"}
    assert os.environ["SDL_VIDEODRIVER"] == "x11"
    assert "SDL_AUDIODRIVER" not in os.environ


def test_an_interrupted_film_leaves_nothing(snn, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.animation.PillowWriter.finish", interrupt)
    assert evaluate(snn, "Pictured-v0", "--video", tmp_path / "film.gif") == 130
    assert [path.name for path in tmp_path.iterdir()] == ["snn.zip"]


def test_rendering_plays_one_episode_at_a_time_before_human_eyes(snn):
    PicturedEnv.shown = 0
    assert evaluate(snn, "Pictured-v0", "--render") == 0
    assert 5 < PicturedEnv.shown <= 20
