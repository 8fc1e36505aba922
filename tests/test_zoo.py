"""rl_zoo3: the packaged hyperparameters are those that were measured, and the commands hand over to it."""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, TD3

from sb3_spiking.cli import main
from sb3_spiking.zoo import FILES
from sb3_spiking.zoo.search import SearchSpace, split

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
        assert len(learning.recorded_runs(name, agent_name)) == 3
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
            assert 'in the clone of sb3-spiking: pip install -e ".[zoo]"' in capsys.readouterr().err
    else:
        assert main(["train", "--algo", "ppo", "--env", "Acrobot-v1"]) == 2
        assert "ppo has hyperparameters for CartPole-v1" in capsys.readouterr().err


def test_options_of_nobody_are_refused_where_nothing_is_handed_over(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["info", "--seed", "1"])
    assert "unrecognized arguments: --seed" in capsys.readouterr().err


def test_an_agent_is_trained_and_watched(tmp_path, capsys, monkeypatch):
    pytest.importorskip("rl_zoo3", reason="rl_zoo3 is an extra")
    monkeypatch.chdir(tmp_path)
    named = ["--algo", "a2c", "--env", "CartPole-v1"]
    assert main(["train", *named, "-n", "80", "--seed", "0", "--eval-freq", "-1", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "logs" / "a2c" / "CartPole-v1_1" / "CartPole-v1.zip").is_file()
    assert main(["enjoy", *named, "--no-render", "-n", "60"]) == 0
    assert "Loading logs/a2c/CartPole-v1_1/CartPole-v1.zip" in capsys.readouterr().out


class Trial:
    """Takes one end of every range."""

    def __init__(self, end):
        self.end, self.params = end, {}

    def suggest_int(self, name, low, high, *, log=False):
        return self.params.setdefault(name, (low, high)[self.end])

    suggest_float = suggest_int

    def suggest_categorical(self, name, choices):
        return self.params.setdefault(name, choices[-self.end])


VECTOR = spaces.Box(-1.0, 1.0, (3,))


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize(
    ("algorithm", "env", "policy", "fixed"),
    [
        (TD3, "Pendulum-v1", "PopSANPolicy", {}),
        (PPO, "CartPole-v1", "SpikingMlpPolicy", {"surrogate": "atan"}),
        (DQN, "CartPole-v1", "PopSANPolicy", {"encoder": "analog"}),
    ],
)
def test_what_is_suggested_makes_a_policy(algorithm, env, policy, fixed, end):
    trial = Trial(end)
    found = SearchSpace(algorithm.policy_aliases[policy], fixed, VECTOR).suggest(trial)
    settings = {} if algorithm is PPO else {"buffer_size": 10}
    model = algorithm(policy, env, policy_kwargs={"net_arch": [8], **fixed, **found}, **settings)
    for name, value in found.items():
        owner = model.policy if name == "actor_lr_scale" else model.policy.spiking_options
        assert getattr(owner, name) == value
    assert ("actor_lr_scale" in found) == (algorithm is not DQN)
    assert ("encoder_population" in found) == (policy == "PopSANPolicy")
    assert split({**trial.params, "net_arch": "small"}) == ({"net_arch": "small"}, found)


def test_what_the_user_has_set_is_not_searched():
    fixed = {"time_steps": 3, "neuron_kwargs": {"threshold": 0.7}, "surrogate_kwargs": {"width": 1.0}}
    found = SearchSpace(TD3.policy_aliases["PopSANPolicy"], fixed, VECTOR).suggest(Trial(0))
    assert set(found) == {"encoder_population", "actor_lr_scale"}


def test_images_have_no_populations_to_search():
    image = spaces.Box(0, 255, (4, 10, 10), dtype="uint8")
    fixed = {"encoder": "deterministic"}
    assert "encoder_population" not in SearchSpace(DQN.policy_aliases["SpikingCnnPolicy"], fixed, image).suggest(
        Trial(0)
    )
    both = spaces.Dict({"image": image, "vector": VECTOR})
    policy = DQN.policy_aliases["SpikingMultiInputPolicy"]
    assert "encoder_population" in SearchSpace(policy, fixed, both).suggest(Trial(0))


def test_a_search_keeps_its_report_and_what_the_user_has_set(tmp_path, capsys, monkeypatch):
    pytest.importorskip("rl_zoo3", reason="rl_zoo3 is an extra")
    pytest.importorskip("pandas", reason="of the extra zoo")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yml").write_text(
        "Pendulum-v1: {policy: PopSANPolicy, n_timesteps: 100, learning_starts: 1000, policy_kwargs: {neuron: lif}}"
    )
    study = ["--algo", "td3", "--env", "Pendulum-v1", "-conf", "own.yml", "--storage", "study.log", "--study-name", "s"]
    trials = ["-optimize", "--n-trials", "2", "--eval-episodes", "1", "--sampler", "random", "--no-optim-plots"]
    assert main(["train", *study, *trials, "-n", "20"]) == 0
    assert "actor_lr_scale" in capsys.readouterr().out
    (report,) = (tmp_path / "logs" / "td3").glob("report_*.csv")
    columns = report.read_text().splitlines()[0].split(",")
    assert {"params_time_steps", "params_surrogate_width", "params_encoder_population"} < set(columns)
    assert "params_neuron" not in columns
    assert main(["train", *study, "--trial-id", "0", "-n", "20", "--eval-freq", "-1"]) == 0
    (config,) = (tmp_path / "logs" / "td3").glob("Pendulum-v1_*/Pendulum-v1/config.yml")
    assert "neuron" in config.read_text()
    assert "time_steps" in config.read_text()


def test_a_search_without_pandas_is_refused_before_the_first_trial(monkeypatch, capsys):
    pytest.importorskip("rl_zoo3", reason="rl_zoo3 is an extra")
    monkeypatch.setattr("sb3_spiking.cli.train.find_spec", lambda name: None)
    assert main(["train", "--algo", "ppo", "--env", "CartPole-v1", "-optimize"]) == 2
    assert "needs pandas" in capsys.readouterr().err
