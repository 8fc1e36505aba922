"""A study in Python is what the command does, and says how far it is."""

import json
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

import sb3_spiking
from sb3_spiking.cli import main
from sb3_spiking.conversion import SpikingQPolicy, calibration_states, compare, convert, make_method, study
from sb3_spiking.environments.recipe import EnvRecipe
from tests.conversion.agents import converted, dqn, observations
from tests.envs import save_statistics

FEW = {"states": 60, "episodes": 2, "max_steps": 30}


@pytest.fixture
def cartpole(tmp_path):
    """Return the file of a DQN for CartPole."""
    path = tmp_path / "dqn.zip"
    dqn(env=make_vec_env("CartPole-v1", 1)).save(path)
    return path


def test_python_writes_what_the_command_writes(cartpole, tmp_path):
    words = ["--env", "CartPole-v1", "--states", "60", "--episodes", "2", "--max-episode-steps", "30", "--seed", "3"]
    words += ["--coding", "residual", "-T", "8", "--alpha", "0.25", "--threshold", "99%", "--per-layer", "-q"]
    words += ["--epsilon", "0.1", "--finetune", "3", "--sweep-threshold", "-o", str(tmp_path / "command.zip")]
    assert main(["convert", str(cartpole), *words]) == 0
    found = study(
        cartpole,
        "CartPole-v1",
        method="residual",
        time_steps=8,
        threshold="99%",
        per_neuron=False,
        alpha=0.25,
        finetune_steps=3,
        epsilon=0.1,
        seed=3,
        sweep_threshold=True,
        **FEW,
    )
    written = found.save(tmp_path / "python.zip")
    assert written == [tmp_path / f"python.{suffix}" for suffix in ("zip", "json", "png")]
    for path in written[1:]:
        assert path.read_bytes() == path.with_stem("command").read_bytes()
    with zipfile.ZipFile(tmp_path / "python.zip") as own, zipfile.ZipFile(tmp_path / "command.zip") as commands:
        assert own.namelist() == commands.namelist()  # the zip files themselves hold the time
        assert all(own.read(name) == commands.read(name) for name in own.namelist())


def test_a_fifth_of_given_states_is_held_out():
    batch = observations(n=50)
    found = study(dqn(), observations=batch)
    assert found.policy.origin["calibration_states"] == 40
    assert found.report.decisions.decisions == 10
    assert found.report.dqn_return is None
    both = study(dqn(), observations=batch, test_observations=observations(n=7, seed=5))
    assert both.policy.origin["calibration_states"] == 50
    assert both.report.decisions.decisions == both.sweeps["time steps"]["10"].decisions == 7


def test_held_out_states_are_used_beside_collected_ones(cartpole):
    test = observations(n=7)
    found = study(cartpole, "CartPole-v1", test_observations=test, **FEW)
    assert found.policy.origin["calibration_states"] == 60
    assert found.sweeps["time steps"]["10"].decisions == 7
    with pytest.raises(ValueError, match="observations must be finite"):
        study(cartpole, "CartPole-v1", test_observations=np.full((5, 4), np.nan), **FEW)


def test_lists_of_states_are_taken():
    batch = observations(n=20)
    of_lists = study(dqn(), observations=batch.tolist(), test_observations=batch[:5].tolist())
    assert of_lists.to_json() == study(dqn(), observations=batch, test_observations=batch[:5]).to_json()
    assert study(dqn(), observations=batch.tolist()).report.decisions.decisions == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 5}, r"epsilon=5 must lie in \[0, 1\]"),
        ({"finetune_steps": -1}, "finetune_steps=-1 must be an integer >= 0"),
        ({"states": 0}, "states=0"),
    ],
)
def test_bad_values_are_told_before_states_are_collected(settings, message):
    with pytest.raises(ValueError, match=message):
        convert("no-such-file.zip", env="CartPole-v1", **settings)


def test_epsilons_that_are_no_probability_are_refused_everywhere():
    snn, teacher = converted()
    with pytest.raises(ValueError, match=r"epsilon=-1 must lie in \[0, 1\]"):
        compare(teacher, snn, "CartPole-v1", epsilon=-1)
    with pytest.raises(ValueError, match=r"epsilon=nan must lie in \[0, 1\]"):
        calibration_states(teacher, "CartPole-v1", 10, epsilon=float("nan"))


def test_the_earlier_name_of_recipes_is_found_with_a_warning():
    with pytest.warns(UserWarning, match="EnvRecipe now"):
        from sb3_spiking.conversion import EnvSpec
    assert EnvSpec is EnvRecipe


def test_every_unit_of_every_stage_is_told(cartpole):
    stages = {}

    @contextmanager
    def stage(name, units):
        told = []
        yield lambda: told.append(1)
        stages[name] = (units, len(told))

    study(cartpole, "CartPole-v1", finetune_steps=2, sweep_threshold=True, stage=stage, **FEW)
    assert stages == {
        "collecting states": (120, 120),
        "fine-tuning": (2, 2),
        "playing episodes": (4, 4),
        "trying time steps": (4, 4),
        "trying threshold": (6, 6),
    }


def test_models_in_memory_and_environments_that_are_there_are_taken(cartpole, tmp_path):
    env = make_vec_env("CartPole-v1", 2, seed=5)
    found = study(dqn(env=make_vec_env("CartPole-v1", 1)), env, **FEW)
    assert found.policy.origin["env"] is None
    assert found.policy.origin["algorithm"] == "DQN"
    assert json.loads(found.to_json())["settings"]["source"] is None
    env.reset()


def test_statistics_are_noted_from_where_the_policy_is_saved(cartpole, tmp_path):
    statistics = save_statistics(tmp_path / "statistics.pkl")
    found = study(cartpole, EnvRecipe("CartPole-v1", vec_normalize=statistics), **FEW)
    assert found.policy.origin["env"]["vec_normalize"] == str(statistics.resolve())
    found.save(tmp_path / "snn.zip")
    assert SpikingQPolicy.load(tmp_path / "snn.zip").origin["env"]["vec_normalize"] == "statistics.pkl"
    assert json.loads((tmp_path / "snn.json").read_text())["settings"]["env"]["vec_normalize"] == "statistics.pkl"
    assert found.policy.origin["env"]["vec_normalize"] == str(statistics.resolve())  # the study itself is unchanged


@pytest.mark.parametrize("existing", ["snn.zip", "snn.json", "snn.png"])
def test_nothing_is_overwritten_unless_asked(existing, tmp_path):
    found = study(dqn(), observations=observations())
    (tmp_path / existing).write_text("mine")
    with pytest.raises(ValueError, match=rf"{existing} is there already; overwrite=True replaces it"):
        found.save(tmp_path / "snn.zip")
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    found.save(tmp_path / "snn.zip", overwrite=True)
    assert (tmp_path / existing).read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "observations=None and env=None"),
        ({"env": "CartPole-v1", "states": 0}, "states=0 must be an integer >= 1"),
        ({"env": "CartPole-v1", "episodes": 0}, "episodes=0"),
        ({"env": "CartPole-v1", "max_steps": 0}, "max_steps=0"),
        ({"env": "CartPole-v1", "finetune_steps": -1}, "finetune_steps=-1 must be an integer >= 0"),
        ({"env": "CartPole-v1", "epsilon": 2.0}, r"epsilon=2\.0 must lie in \[0, 1\]"),
        ({"env": "CartPole-v1", "epsilon": "0.1"}, r"epsilon='0\.1' must lie in \[0, 1\]"),
        ({"env": "CartPole-v1", "epsilon": float("nan")}, r"epsilon=nan must lie in \[0, 1\]"),
        ({"env": "CartPole-v1", "method": "ternary", "coding": "rate"}, "method='ternary' and coding='rate': they are"),
        ({"env": "CartPole-v1", "alpha": 0.5}, "method='ternary' has no alpha"),
    ],
)
def test_bad_values_are_told_before_the_file_is_read(kwargs, message):
    with pytest.raises(ValueError, match=message):
        sb3_spiking.study("no-such-file.zip", **kwargs)


def test_a_method_can_be_handed_on_and_is_found_by_its_earlier_name():
    own = make_method("rate", time_steps=5, threshold="95%", per_neuron=False)
    assert make_method(own) == make_method(coding=own) == own
    assert make_method(own, per_neuron=True).threshold.percent == 95.0
    by_name, by_earlier_name = (converted(**{name: own})[0] for name in ("method", "coding"))
    for values in (by_name, by_earlier_name):
        assert values.network.coding.time_steps == 5
    batch = observations()
    np.testing.assert_array_equal(by_name.q_values(batch)[0], by_earlier_name.q_values(batch)[0])
