"""The command that distils: what it writes, and what it refuses before any work."""

import json

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_spiking.cli import main
from sb3_spiking.conversion import convert
from sb3_spiking.policies.common import SpikingPolicy

BRIEF = ["--steps", "64", "--rounds", "2", "--gradient-steps", "4", "--batch-size", "8", "--episodes", "2"]


@pytest.fixture
def teacher(tmp_path):
    path = tmp_path / "ppo-CartPole-v1.zip"
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [16]}, device="cpu", seed=0).save(path)
    return path


def refused(capsys, *words):
    """Return the one line of an error; nothing is printed beside it."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_student_is_written_with_its_report(teacher, capsys):
    words = ["--net-arch", "12", "-T", "3", "--trust", "--max-episode-steps", "50"]
    assert main(["distill", str(teacher), *BRIEF, *words]) == 0
    printed = capsys.readouterr()
    assert "return (2 episodes)" in printed.out
    assert "ppo-CartPole-v1_student.zip" in printed.out
    student = PPO.load(teacher.with_name("ppo-CartPole-v1_student.zip"), device="cpu")
    assert isinstance(student.policy, SpikingPolicy)
    assert student.policy.spiking_options.time_steps == 3
    assert len(student.policy.spiking_network.layers[0].synapses.weight) == 12
    report = json.loads(teacher.with_name("ppo-CartPole-v1_student.json").read_text())
    assert report["samples"] == 64
    assert len(report["student_returns"]) == 2
    assert report["student_return"] == pytest.approx(np.mean(report["student_returns"]))


def test_an_off_policy_student_is_trained_further_with_a_buffer_of_its_own(tmp_path, capsys):
    path = tmp_path / "sac-Pendulum-v1.zip"
    SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16]}, buffer_size=10, device="cpu").save(path)
    words = ["--policy", "SpikingMlpPolicy", "-o", str(tmp_path / "student.zip"), "--trust", "-q"]
    assert main(["distill", str(path), *BRIEF, "--net-arch", "12", *words]) == 0
    assert capsys.readouterr().out == ""
    student = SAC.load(tmp_path / "student.zip", env=gym.make("Pendulum-v1"), device="cpu")
    assert student.buffer_size == 1_000_000
    student.learn(110)


def test_a_teacher_is_not_loaded_without_trust(teacher, capsys, monkeypatch):
    monkeypatch.setattr(BaseAlgorithm, "load", lambda *_, **__: pytest.fail("loaded"))
    assert "--trust" in refused(capsys, "distill", teacher, *BRIEF)


def test_nothing_is_overwritten_unasked(teacher, capsys):
    teacher.with_name("ppo-CartPole-v1_student.json").write_text("mine")
    said = refused(capsys, "distill", teacher, *BRIEF, "--trust")
    assert "is there already; --force replaces it, another --output keeps it" in said
    assert "is the teacher" in refused(capsys, "distill", teacher, *BRIEF, "--trust", "-o", teacher)
    assert main(["distill", str(teacher), *BRIEF, "--trust", "--force", "-q"]) == 0


def test_bad_options_are_named_as_options(teacher, tmp_path, capsys):
    said = refused(capsys, "distill", teacher, "--trust", "--steps", "5", "--rounds", "9", "--env", "CartPole-v1")
    assert "--steps 5 must be at least --rounds 9" in said
    said = refused(capsys, "distill", teacher, *BRIEF, "--trust", "--exploration", "2", "--env", "CartPole-v1")
    assert "exploration" in said
    assert "does not fit the agent" in refused(capsys, "distill", teacher, *BRIEF, "--trust", "--env", "Pendulum-v1")
    assert not list(tmp_path.glob("*_student*"))


def test_other_files_are_told_where_they_belong(tmp_path, capsys):
    dqn = DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, buffer_size=10)
    convert(dqn, env="CartPole-v1", states=100).save(tmp_path / "snn.zip")
    assert "spikes already; sb3-spiking evaluate plays it" in refused(capsys, "distill", tmp_path / "snn.zip")
    assert "does not exist" in refused(capsys, "distill", tmp_path / "no.zip")
    dqn.save(tmp_path / "dqn.zip")
    assert "--algo nothing is unknown" in refused(capsys, "distill", tmp_path / "dqn.zip", "--algo", "nothing")


def test_no_environment_is_an_error_before_the_student_is_made(tmp_path, capsys):
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, device="cpu").save(tmp_path / "agent.zip")
    capsys.readouterr()
    assert main(["distill", str(tmp_path / "agent.zip"), "--trust", *BRIEF]) == 2
    assert "no environment is known; pass --env ID" in capsys.readouterr().err
