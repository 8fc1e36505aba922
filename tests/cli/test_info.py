"""``sb3-spiking info FILE``: how the layers of an agent run, and why."""

import json

import pytest
from stable_baselines3 import DQN, PPO

from sb3_spiking.cli import main
from sb3_spiking.conversion import convert
from tests.conftest import small_model


def info(capsys, path):
    assert main(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_popsan_decides_at_once_and_learns_in_fused_layers(env, tmp_path, capsys):
    small_model(env).save(tmp_path / "agent.zip")
    shown = info(capsys, tmp_path / "agent.zip")
    assert shown["one observation"] == {"all layers": "the whole network at once"}
    assert set(shown["256 observations"].values()) == {"synapses and neurons in one fused kernel"}


def test_reasons_are_given_where_a_layer_is_slower(tmp_path, capsys):
    PPO("SpikingMlpPolicy", "CartPole-v1", policy_kwargs={"membrane_norm": "layer"}).save(tmp_path / "agent.zip")
    shown = info(capsys, tmp_path / "agent.zip")
    assert "not fully connected, plain" in shown["one observation"]["not at once"]
    assert "same at each step" in shown["256 observations"]["hidden0"]
    assert "normalised" in shown["256 observations"]["hidden1"]


def test_converted_agents_have_layers_as_well(tmp_path, capsys):
    convert(DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}), env="CartPole-v1").save(
        tmp_path / "snn.zip"
    )
    assert info(capsys, tmp_path / "snn.zip") == {"one observation": {"hidden0": "neurons in a fused kernel"}}


def test_nothing_in_the_file_is_executed_and_foreign_names_are_not_imported(tmp_path, capsys, monkeypatch):
    (tmp_path / "outside.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = PPO("SpikingMlpPolicy", "CartPole-v1")
    model.policy_kwargs = {"neuron": "outside:Neuron"}
    model.save(tmp_path / "agent.zip")
    assert main(["info", str(tmp_path / "agent.zip")]) == 2
    assert "not imported" in capsys.readouterr().err


@pytest.mark.parametrize("options", [{"time_steps": 10**9}])
def test_networks_of_absurd_size_are_not_made(tmp_path, capsys, options):
    model = PPO("SpikingMlpPolicy", "CartPole-v1")
    model.policy_kwargs = options
    model.save(tmp_path / "agent.zip")
    assert main(["info", str(tmp_path / "agent.zip")]) == 2
    assert "are not made" in capsys.readouterr().err


def test_an_agent_that_does_not_spike_is_refused(tmp_path, capsys):
    PPO("MlpPolicy", "CartPole-v1").save(tmp_path / "agent.zip")
    assert main(["info", str(tmp_path / "agent.zip")]) == 2
    assert "no spiking policy" in capsys.readouterr().err
