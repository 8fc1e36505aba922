"""Films from Python: with and without spikes, of ids, recipes and environments."""

import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from PIL import Image
from stable_baselines3 import DQN
from stable_baselines3.common.atari_wrappers import EpisodicLifeEnv
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_spiking.conversion import convert
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.film import check_film, film_episode, write_film
from tests.film.environments import SIZE, LivesEnv


def dqn(policy="PopSANPolicy"):
    return DQN(policy, "CartPole-v1", policy_kwargs={"net_arch": [8]}, buffer_size=100, seed=0)


def frames_of(path):
    with Image.open(path) as film:
        for index in range(film.n_frames):
            film.seek(index)
            yield np.asarray(film.convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", ["trained", "converted"])
def test_the_film_is_that_of_an_episode_of_the_agent(kind, pictured, tmp_path):
    model = dqn("PopSANPolicy" if kind == "trained" else "MlpPolicy")
    agent = model if kind == "trained" else convert(model, observations=np.zeros((10, 4), np.float32))
    told = []
    episode = film_episode(agent, pictured, tmp_path / "film.gif", progress=lambda: told.append(1))
    assert episode.over
    assert episode.decisions == episode.score == len(told)
    frames = list(frames_of(tmp_path / "film.gif"))
    assert len(frames) == episode.decisions
    for index, frame in enumerate(frames):
        assert frame.shape[1] > 2 * frame.shape[0]  # the spikes are beside it
        assert frame[frame.shape[0] // 2, : frame.shape[0] // 4] == pytest.approx(2 * index, abs=2)


def test_without_spikes_a_frame_is_the_environments_image(pictured, tmp_path):
    episode = film_episode(dqn(), EnvRecipe(pictured), tmp_path / "film.gif", spikes=False, max_decisions=3, fps=10)
    assert str(episode) == "3 decisions, return 3 so far: the episode goes on"
    frames = list(frames_of(tmp_path / "film.gif"))
    assert [frame.shape for frame in frames] == [(*SIZE, 3)] * 3
    assert [frame.mean() for frame in frames] == pytest.approx([0, 2, 4], abs=1)


@pytest.mark.parametrize("monitored", [True, False])
def test_environments_that_are_there_are_filmed_and_left_open(pictured, tmp_path, monitored):
    make = lambda: gym.make(pictured, render_mode="rgb_array")  # noqa: E731
    env = make_vec_env(make, 1) if monitored else DummyVecEnv([make])
    expected = film_episode(dqn(), pictured, tmp_path / "id.gif", seed=4)
    assert film_episode(dqn(), env, tmp_path / "env.gif", seed=4) == expected
    assert (tmp_path / "env.gif").read_bytes() == (tmp_path / "id.gif").read_bytes()
    env.reset()


def test_a_plain_environment_is_filmed(pictured, tmp_path):
    episode = film_episode(dqn(), gym.make(pictured, render_mode="rgb_array"), tmp_path / "film.gif", max_decisions=3)
    assert episode.decisions == 3


def test_a_second_film_begins_a_new_game(tmp_path):
    env = DummyVecEnv([lambda: EpisodicLifeEnv(LivesEnv(render_mode="rgb_array"))])
    for _ in range(2):
        film_episode(dqn(), env, tmp_path / "film.gif", spikes=False, overwrite=True)
        assert next(frames_of(tmp_path / "film.gif")).max() == 0  # the first step of a game is black


def test_statistics_that_learn_are_left_alone_and_returns_are_not_normalised(pictured, tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: gym.make(pictured, render_mode="rgb_array")]))
    env.reset()
    count, mean = env.obs_rms.count, env.obs_rms.mean.copy()
    episode = film_episode(dqn(), env, tmp_path / "film.gif", max_decisions=4)
    assert episode.score == 4
    assert env.obs_rms.count == count
    np.testing.assert_array_equal(env.obs_rms.mean, mean)
    assert env.training
    assert env.norm_reward


def test_films_leave_random_states_and_variables_alone(pictured, tmp_path, monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    model = dqn()
    draw = lambda: (th.rand(2).tolist(), np.random.rand(2).tolist(), [model.action_space.sample() for _ in range(20)])  # noqa: E731, NPY002
    states = th.get_rng_state(), np.random.get_state(), model.action_space.np_random.bit_generator.state  # noqa: NPY002
    expected = draw()
    th.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    model.action_space.np_random.bit_generator.state = states[2]
    before = dict(os.environ)
    film_episode(model, pictured, tmp_path / "film.gif", max_decisions=3, epsilon=0.5)
    assert dict(os.environ) == before
    assert draw() == expected


def test_what_cannot_be_filmed_is_told_before_anything_is_played(pictured, tmp_path):
    path = tmp_path / "film.gif"
    blind = DummyVecEnv([lambda: gym.make(pictured)])
    several = make_vec_env(lambda: gym.make(pictured, render_mode="rgb_array"), 2)
    for env, message in ((blind, "render mode is None, not rgb_array"), (several, "env has 2 environments")):
        with pytest.raises(ValueError, match=message):
            film_episode(dqn(), env, path)
    for settings in ({"max_decisions": 0}, {"fps": 0}, {"epsilon": 7}):
        ((name, value),) = settings.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            film_episode(dqn(), pictured, path, **settings)
    path.write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"film\.gif' is there already; overwrite=True replaces it"):
        film_episode(dqn(), pictured, path)
    assert path.read_bytes() == b"precious"


def test_places_that_cannot_be_written_are_told_before_anything_is_played(tmp_path, monkeypatch):
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(ValueError, match=r"folder\.gif' is a folder"):
        check_film(tmp_path / "folder.gif", overwrite=True)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)  # root may write anywhere
    with pytest.raises(ValueError, match=r"film\.gif cannot be written: Permission denied"):
        check_film(tmp_path / "film.gif")


def test_a_film_without_frames_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="frames is empty"):
        write_film([], 10, tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


def test_frames_are_written_as_they_come(tmp_path, monkeypatch):
    """A film of thousands of frames must not be held in memory."""
    written, ahead = [], []
    monkeypatch.setattr("matplotlib.animation.PillowWriter.grab_frame", lambda self: written.append(1))

    def frames():
        for index in range(10):
            ahead.append(index - len(written))
            yield np.zeros((*SIZE, 3), np.uint8)

    monkeypatch.setattr("matplotlib.animation.PillowWriter.setup", lambda *_, **__: None)
    monkeypatch.setattr("matplotlib.animation.PillowWriter.finish", lambda *_: (tmp_path / ".film.partial.gif").touch())
    write_film(frames(), 10, tmp_path / "film.gif")
    assert len(written) == 10
    assert max(ahead) <= 1


def test_films_need_no_command_line():
    script = (
        "import sys, sb3_spiking.film\n"
        "print([name for name in sys.modules if name.startswith(('sb3_spiking.cli', 'sb3_spiking_cli'))])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
