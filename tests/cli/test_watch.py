"""``watch`` films an agent beside the spikes that it decides by, and runs nothing of a file unless told to."""

import base64
import json
import shutil
import zipfile

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image
from stable_baselines3 import DQN
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_spiking.cli import main
from sb3_spiking.conversion import convert
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.reading.inspection import inspect_zip
from tests.film.environments import SIZE, BlindEnv, PicturedEnv, UnseenEnv


@pytest.fixture(autouse=True)
def environments():
    for name, cls in {"Pictured-v0": PicturedEnv, "Blind-v0": BlindEnv, "Unseen-v0": UnseenEnv}.items():
        gym.register(name, cls, max_episode_steps=20)
    yield
    for name in ("Pictured-v0", "Blind-v0", "Unseen-v0"):
        del gym.registry[name]


def dqn(policy="PopSANPolicy"):
    return DQN(policy, "CartPole-v1", policy_kwargs={"net_arch": [8]}, buffer_size=100, seed=0)


@pytest.fixture
def model(tmp_path):
    """Return the file of a small spiking model of SB3."""
    dqn().save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


def watched(path, *words, env="Pictured-v0"):
    return main(["watch", str(path), "--env", env, "-q", *map(str, words)])


def refused(capsys, path, *words, **kwargs):
    """Return the one line of an error."""
    capsys.readouterr()
    assert watched(path, *words, **kwargs) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def steps_of(policy):
    """Return how many decisions an episode takes."""
    env = gym.make("Pictured-v0")
    observation, _ = env.reset(seed=0)
    for step in range(1, 100):
        action, _ = policy.predict(observation, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return step
    raise AssertionError("the episode does not end")


def check_film(path, decisions):
    """Look for a frame of each decision, with the environment's picture at the left and the spikes beside it."""
    with Image.open(path) as film:
        assert film.n_frames == decisions
        width, height = film.size
        assert width > 2 * SIZE[1] / SIZE[0] * height * 0.8
        for frame in (0, decisions - 1):
            film.seek(frame)
            shown = np.asarray(film.convert("RGB")).astype(int)
            scene = shown[height // 2, : height // 4]
            assert scene == pytest.approx(2 * frame, abs=2)
            spikes = shown[:, width // 2 :]
            assert (spikes.max(axis=2) - spikes.min(axis=2) > 100).any()  # populations are coloured


def test_a_film_of_a_trained_spiking_model(model, tmp_path):
    assert watched(model, "--trust", "-o", tmp_path / "film.gif") == 0
    check_film(tmp_path / "film.gif", steps_of(dqn().policy))


def test_a_film_of_a_converted_network_needs_no_trust(tmp_path):
    snn = convert(dqn("MlpPolicy"), observations=np.zeros((10, 4), np.float32))
    snn.save(tmp_path / "snn.zip")
    assert watched(tmp_path / "snn.zip", "-o", tmp_path / "film.gif", "--frames", 4) == 0
    check_film(tmp_path / "film.gif", 4)


def test_the_filmed_return_is_said(model, tmp_path, capsys):
    decisions = steps_of(dqn().policy)
    for frames, said in ((300, f"{decisions} decisions, return {decisions}\n"), (2, "2 decisions, return 2 so far")):
        words = [
            "--env",
            "Pictured-v0",
            "--trust",
            "--force",
            "-o",
            str(tmp_path / "film.gif"),
            "--frames",
            str(frames),
        ]
        assert main(["watch", str(model), *words]) == 0
        assert said in capsys.readouterr().out


def test_the_film_lies_beside_the_model_unless_named(model, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert watched(model, "--trust", "--frames", 2, "--fps", 10) == 0
    with Image.open(model.with_suffix(".gif")) as film:
        assert film.info["duration"] == 100


def test_an_mp4_is_written_with_ffmpeg(model):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    assert watched(model, "--trust", "--frames", 2) == 0
    assert b"ftyp" in model.with_suffix(".mp4").read_bytes()[:16]


def test_nothing_of_a_file_runs_without_trust(model, tmp_path, capsys):
    evil, ran = tmp_path / "evil.zip", tmp_path / "ran"
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "data":
                data = json.loads(content)
                pickle = f"cpathlib\nPath.touch\n(cpathlib\nPath\n(S'{ran}'\ntRtR."
                data["ep_info_buffer"] = {":type:": "deque", ":serialized:": base64.b64encode(pickle.encode()).decode()}
                content = json.dumps(data).encode()
            target.writestr(name, content)
    assert "--trust" in refused(capsys, evil, "-o", tmp_path / "film.gif")
    assert not ran.exists()
    assert not (tmp_path / "film.gif").exists()


def test_agents_that_do_not_spike_are_told(tmp_path, capsys):
    path = tmp_path / "dqn.zip"
    dqn("MlpPolicy").save(path)
    film = ["-o", tmp_path / "film.gif"]
    assert "run sb3-spiking convert first, and watch what it writes" in refused(capsys, path, *film)
    assert "run sb3-spiking convert first" in refused(capsys, path, *film, "--trust", "--algo", "dqn")
    assert "no such file" in refused(capsys, tmp_path / "none.zip", *film)


def test_a_policy_of_ones_own_is_told_by_what_sb3_saves_beside_it(tmp_path, capsys):
    own = type("OwnPolicy", (DQN.policy_aliases["PopSANPolicy"],), {})
    path, film = tmp_path / "own.zip", ["-o", tmp_path / "film.gif", "--frames", 2]
    dqn(own).save(path)
    assert "is a DQN model of SB3; if you trust its author, --trust" in refused(capsys, path, *film)
    assert "--algo nonsense is unknown; choose one of: td3," in refused(capsys, path, "--algo", "nonsense", *film)
    assert watched(path, "--trust", *film) == 0
    assert watched(path, "--trust", "--algo", "dqn", *film, "--force") == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_the_algorithm_is_told_by_its_file(algorithm, tmp_path):
    discrete = issubclass(algorithm, OnPolicyAlgorithm) or "DQN" in algorithm.__name__
    settings = {} if issubclass(algorithm, OnPolicyAlgorithm) else {"buffer_size": 10}
    env = "CartPole-v1" if discrete else "Pendulum-v1"
    algorithm("PopSANPolicy", env, policy_kwargs={"net_arch": [4]}, **settings).save(tmp_path / "model.zip")
    assert inspect_zip(tmp_path / "model.zip").algorithm == algorithm.__name__


def test_environments_without_pictures_are_refused_before_anything_is_played(model, tmp_path, capsys):
    film = ["--trust", "-o", tmp_path / "film.gif"]
    assert "Unseen-v0 renders no images: it has no render mode rgb_array" in refused(
        capsys, model, *film, env="Unseen-v0"
    )
    assert "Blind-v0 renders no images" in refused(capsys, model, *film, env="Blind-v0")
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]


def test_an_environment_that_fails_to_draw_is_one_clear_line(model, tmp_path, capsys, monkeypatch):
    def fail(self):
        raise RuntimeError("no screen")

    monkeypatch.setattr(PicturedEnv, "render", fail)
    assert "Pictured-v0 renders no images: no screen" in refused(capsys, model, "--trust", "-o", tmp_path / "film.gif")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "film.avi"], "--output film.avi must end in .gif or .mp4"),
        (["-o", "nowhere/film.gif"], "no folder nowhere"),
        (["--frames", "0", "-o", "film.gif"], "--frames 0"),
        (["--fps", "0", "-o", "film.gif"], "--fps 0"),
    ],
)
def test_bad_options_are_one_clear_line(model, capsys, words, said):
    assert said in refused(capsys, model, "--trust", *words)


def test_a_film_is_not_replaced_unasked(model, tmp_path, capsys):
    path = tmp_path / "film.gif"
    path.write_bytes(b"precious")
    assert "--force replaces it" in refused(capsys, model, "--trust", "-o", path)
    assert path.read_bytes() == b"precious"
    assert watched(model, "--trust", "-o", path, "--force", "--frames", 1) == 0
    assert path.read_bytes().startswith(b"GIF")
