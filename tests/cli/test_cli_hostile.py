"""The commands, given files of strangers and episodes that never end: one line each, and an end."""

import base64
import json
import zipfile

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN

from sb3_spiking.cli import main
from sb3_spiking.conversion.policy import SpikingQPolicy
from tests.cli.test_cli import names, refused
from tests.conversion.agents import converted
from tests.conversion.test_converted_policy import set_to, tampered


class Endless(gym.Env):
    """No episode of it ends."""

    observation_space = spaces.Box(-1.0, 1.0, (4,))
    action_space = spaces.Discrete(3)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 (as gymnasium has it)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}


@pytest.fixture
def endless(tmp_path):
    """Return the file of a DQN whose environment never ends an episode."""
    gym.register("Endless-v0", Endless)
    path = tmp_path / "dqn-Endless-v0.zip"
    DQN("MlpPolicy", gym.make("Endless-v0"), policy_kwargs={"net_arch": [8]}, buffer_size=10, seed=0).save(path)
    yield path
    del gym.registry["Endless-v0"]


def test_episodes_that_never_end_are_cut_and_counted(endless, capsys):
    few = ["--episodes", "3", "--max-episode-steps", "20"]
    assert main(["convert", str(endless), "--states", "50", *few]) == 0
    printed = capsys.readouterr()
    assert "episodes that did not end within 20 steps and were cut: 6;" in " ".join(printed.err.split())
    assert "episodes that did not end and were cut" in printed.out
    content = json.loads(endless.with_name("dqn-Endless-v0_snn.json").read_text())
    assert (content["dqn_cut"], content["snn_cut"], content["dqn_returns"]) == (3, 3, [20.0] * 3)
    assert content["evaluation"]["max_episode_steps"] == 20
    assert main(["evaluate", str(endless.with_name("dqn-Endless-v0_snn.zip")), *few]) == 0
    assert "episodes that did not end within 20 steps and were cut: 3;" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--states", "1000000000000"], "--states 1000000000000 of"),
        (["-T", "1000000000", "--coding", "rate"], "--time-steps 1000000000 must be at most"),
        (["-T", "0"], "--time-steps 0 must be"),
        (["-T", "30"], "--time-steps 30: --coding ternary takes at most 14"),
        (["--initial", "nan", "--coding", "rate"], "--initial nan must be"),
        (["--threshold", "0%"], "--threshold 0%: the percentile"),
        (["--threshold", "x"], "--threshold x must look like"),
        (["--max-episode-steps", "0"], "--max-episode-steps 0"),
        (["--observations", "/dev/zero"], "it is a device"),
        (["--frame-stack", "100000000", "--env", "Endless-v0"], "--frame-stack 100000000"),
    ],
)
def test_what_would_never_end_is_refused_before_any_work(endless, capsys, options, said):
    assert said in refused(capsys, "convert", endless, *options)
    assert names(endless.parent) == [endless.name]


def test_out_of_memory_is_one_line(endless, capsys, monkeypatch):
    for error in (MemoryError("Unable to allocate 7 GiB"), RuntimeError("[enforce fail] can't allocate memory: 8")):
        monkeypatch.setattr("sb3_spiking.conversion.studies.calibration_states", lambda *_, error=error: raised(error))
        assert "out of memory" in refused(capsys, "convert", endless, "-q")
    monkeypatch.setattr("sb3_spiking.conversion.studies.calibration_states", lambda *_: raised(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["convert", str(endless)])


def raised(error):
    raise error


@pytest.mark.parametrize("text", ["{bad", "notjson", "[1]", "3"])
def test_arguments_that_are_no_json_say_what_is_expected(endless, capsys, text):
    with pytest.raises(SystemExit):
        main(["convert", str(endless), "--env-kwargs", text])
    assert f"{text!r} is no JSON object; write it like '{{\"g\": 9.8}}'" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["json", "png"])
def test_the_three_files_are_written_together_or_not_at_all(endless, monkeypatch, broken):
    assert main(["convert", str(endless), "--states", "50", "--episodes", "1", "--max-episode-steps", "5"]) == 0
    outputs = [endless.with_name(f"dqn-Endless-v0_snn.{suffix}") for suffix in ("zip", "json", "png")]
    before = [path.read_bytes() for path in outputs]
    where = "sb3_spiking.conversion.studies.Study.plot" if broken == "png" else "pathlib.Path.write_text"
    monkeypatch.setattr(where, lambda *_: raised(OSError("no space left on device")))
    options = ["--states", "60", "--episodes", "1", "--max-episode-steps", "5", "--force", "--seed", "1"]
    assert main(["convert", str(endless), *options]) == 2
    assert [path.read_bytes() for path in outputs] == before
    assert names(endless.parent) == sorted([endless.name, *(path.name for path in outputs)])


def test_a_folder_in_the_place_of_an_output_is_named(endless, capsys):
    endless.with_name("dqn-Endless-v0_snn.png").mkdir()
    assert "dqn-Endless-v0_snn.png is a folder" in refused(capsys, "convert", endless, "--force")


def test_notes_of_a_file_do_not_write_to_the_terminal(tmp_path, capsys):
    policy, _ = converted()
    policy.save(tmp_path / "good.zip")
    path = tampered(tmp_path / "good.zip", tmp_path / "snn.zip", set_to("origin", "\x1b[2J\u202e\n", "\x9b31m" * 10**4))
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.splitlines())
    assert len(printed) < 3000
    assert "no such file" in refused(capsys, "inspect", tmp_path / "\x1b[2J.zip")


def test_options_change_what_was_noted(tmp_path, capsys):
    path = tmp_path / "dqn-CartPole-v1.zip"
    DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, buffer_size=10).save(path)
    assert main(["convert", str(path), "--states", "50", "--episodes", "1", "-q"]) == 0
    snn = tmp_path / "dqn-CartPole-v1_snn.zip"
    assert SpikingQPolicy.load(snn).origin["env"]["id"] == "CartPole-v1"
    stacked = refused(capsys, "evaluate", snn, "--frame-stack", "2")
    assert "observes Box(8,)" in stacked


def test_many_members_are_not_all_listed(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for index in range(900):
            archive.writestr(f"{index}", b"")
    assert main(["inspect", str(tmp_path / "many.zip")]) == 0
    printed = capsys.readouterr()
    assert "... and 890 more; --tensors shows all" in printed.out


def test_states_of_a_file_that_are_none(endless, capsys, tmp_path):
    np.save(tmp_path / "states.npy", np.array(3.0))
    assert "a single number" in refused(capsys, "convert", endless, "--observations", tmp_path / "states.npy")
    np.save(tmp_path / "states.npy", np.zeros((0, 4)))
    assert "shape (0, 4)" in refused(capsys, "convert", endless, "--observations", tmp_path / "states.npy")


@pytest.mark.parametrize(
    "named",
    [
        b"\x80\x04\x8c\x09torch.hub\x8c\x09os.system\x93.",  # reaches through a usual module
        b"".join(  # hides behind long and usual names
            b"\x8c\x07gymnasi\x8d" + (400).to_bytes(8, "little") + letter * 400 + b"\x930" for letter in (b"a", b"b")
        ).join([b"\x80\x04", b"\x8c\x05posix\x8c\x06system\x93."]),
    ],
)
def test_what_a_pickle_would_run_is_seen_whatever_is_beside_it(tmp_path, capsys, named):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("data", json.dumps({"exploration_rate": {":serialized:": base64.b64encode(named).decode()}}))
    assert main(["inspect", str(tmp_path / "evil.zip")]) == 0
    printed = capsys.readouterr()
    assert "os.system" in printed.err or "posix.system" in printed.err
    assert "system" in printed.out
