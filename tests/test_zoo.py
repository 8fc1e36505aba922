"""rl_zoo3: the packaged hyperparameters are those that were measured, and the commands hand over to it."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from sb3_spiking.cli import main
from sb3_spiking.zoo import FILES

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MEASURED = {
    ("sac", "Pendulum-v1"): ("sac-pendulum", "popsan"),
    ("tqc", "Pendulum-v1"): ("tqc-pendulum", "popsan"),
    ("td3", "HalfCheetah-v5"): ("td3-halfcheetah", "popsan"),
    ("td3", "InvertedDoublePendulum-v5"): ("td3-doublependulum", "popsan"),
    ("ppo", "CartPole-v1"): ("ppo-cartpole", "popsan"),
    ("ppo", "InvertedPendulum-v5"): ("ppo-pendulum", "popsan"),
    ("ppo", "MinAtar/Breakout-v1"): ("ppo-minatar-breakout", "spiking-cnn"),
    ("a2c", "CartPole-v1"): ("a2c-cartpole", "popsan"),
    ("trpo", "CartPole-v1"): ("trpo-cartpole", "popsan"),
    ("dqn", "CartPole-v1"): ("dqn-cartpole", "popsan-corrected"),
    ("dqn", "MinAtar/Breakout-v1"): ("dqn-minatar-breakout", "spiking-cnn"),
    ("qrdqn", "CartPole-v1"): ("qrdqn-cartpole", "popsan"),
}


def packaged():
    return {
        (algorithm, env): values
        for algorithm, path in FILES.items()
        for env, values in yaml.safe_load(path.read_text()).items()
    }


def as_yaml(value):
    """Write a learning rate that falls linearly to 0 as rl_zoo3 writes it."""
    return f"lin_{value(1.0):g}".replace("e-0", "e-").replace("lin_0.0005", "lin_5e-4") if callable(value) else value


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are in the repository alone")
def test_packaged_hyperparameters_are_those_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    learning = importlib.import_module("learning")
    wanted = {}
    for key, (name, agent_name) in MEASURED.items():
        task = learning.TASKS[name]
        agent = task.agents[agent_name]
        assert len(learning.records(name, agent_name)) == 3
        assert task.algorithm.lower() == key[0]
        assert re.sub(r"MinAtar/(\w+)-v1", r"minatar-\1", key[1]).lower() == task.env.lower()
        values = {"policy": agent.policy, "n_timesteps": task.steps}
        values |= {argument: as_yaml(value) for argument, value in task.arguments.items()}
        policy_kwargs = {**task.policy_kwargs, **agent.policy_kwargs}
        values |= {"policy_kwargs": policy_kwargs} if policy_kwargs else {}
        values |= {"n_envs": task.n_envs} if task.n_envs > 1 else {}
        values |= {"noise_type": "normal", "noise_std": task.noise} if task.noise else {}
        if key[1].startswith("MinAtar"):
            values["env_wrapper"] = "sb3_spiking.environments.GridToImage"
        wanted[key] = values
    assert packaged() == wanted


def test_what_is_missing_is_said_in_one_line(capsys):
    assert main(["train", "--algo", "ars", "--env", "CartPole-v1"]) == 2
    assert "hyperparameters are there for a2c, dqn, ppo" in capsys.readouterr().err
    if importlib.util.find_spec("rl_zoo3") is None:
        for command in ("train", "enjoy"):
            assert main([command, "--algo", "ppo", "--env", "CartPole-v1", "-n", "10"]) == 2
            assert 'pip install "sb3-spiking[zoo]"' in capsys.readouterr().err
    else:
        assert main(["train", "--algo", "ppo", "--env", "Acrobot-v1"]) == 2
        assert "ppo has hyperparameters for CartPole-v1" in capsys.readouterr().err


def test_options_of_nobody_are_refused_where_nothing_is_handed_over(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["info", "--seed", "1"])
    assert "unrecognized arguments: --seed 1" in capsys.readouterr().err


def test_an_agent_is_trained_and_watched(tmp_path, capsys, monkeypatch):
    pytest.importorskip("rl_zoo3", reason="rl_zoo3 is an extra")
    monkeypatch.chdir(tmp_path)
    named = ["--algo", "a2c", "--env", "CartPole-v1"]
    assert main(["train", *named, "-n", "80", "--seed", "0", "--eval-freq", "-1", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "logs" / "a2c" / "CartPole-v1_1" / "CartPole-v1.zip").is_file()
    assert main(["enjoy", *named, "--no-render", "-n", "60"]) == 0
    assert "Loading logs/a2c/CartPole-v1_1/CartPole-v1.zip" in capsys.readouterr().out
