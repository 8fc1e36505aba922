"""``sb3-spiking info FILE``: how the layers of an agent run, and why."""

import json

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.torch_layers import NatureCNN

from sb3_spiking.cli import main
from sb3_spiking.cli.info import products_text
from sb3_spiking.cli.system_info import KernelInfo
from sb3_spiking.conversion import convert
from tests.conftest import small_model
from tests.envs import AnyEnv
from tests.policies.cells import CELLS
from tests.reading.agents import IMAGE, with_data, with_state


def info(capsys, path):
    assert main(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_popsan_decides_and_learns_at_once(env, tmp_path, capsys):
    small_model(env).save(tmp_path / "agent.zip")
    shown = info(capsys, tmp_path / "agent.zip")
    assert shown["one observation"] == {"all layers": "the whole network at once"}
    assert shown["256 observations"] == {"all layers": "the whole network at once"}


def test_reasons_are_given_where_a_layer_is_slower(tmp_path, capsys):
    PPO("SpikingMlpPolicy", "CartPole-v1", policy_kwargs={"membrane_norm": "layer"}).save(tmp_path / "agent.zip")
    shown = info(capsys, tmp_path / "agent.zip")
    assert shown["one observation"] == {"all layers": "the whole network at once"}
    assert shown["256 observations"]["not at once"] == "its currents are normalised"
    assert "same at each step" in shown["256 observations"]["hidden0"]
    assert "normalised" in shown["256 observations"]["hidden1"]


def test_a_reason_is_given_where_a_network_does_not_decide_at_once(tmp_path, capsys):
    PPO("PopSANPolicy", "CartPole-v1", policy_kwargs={"intra_connections": True}).save(tmp_path / "agent.zip")
    shown = info(capsys, tmp_path / "agent.zip")
    assert "not fully connected, plain" in shown["one observation"]["not at once"]


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


def refused(path, capsys):
    """Return why a file is refused, in one line that names it."""
    assert main(["info", str(path)]) == 2
    text = capsys.readouterr().err
    assert path.name in text
    return " ".join(text.split())


@pytest.fixture
def agent(env, tmp_path):
    small_model(env).save(tmp_path / "agent.zip")
    return tmp_path / "agent.zip"


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_agents_of_every_algorithm_and_kind_of_observation_are_shown(cell, tmp_path, capsys):
    cell.model().save(tmp_path / "agent.zip")
    assert info(capsys, tmp_path / "agent.zip").keys() == {"one observation", "256 observations"}


def test_an_extractor_of_ones_own_may_change_the_number_of_features(tmp_path, capsys):
    policy_kwargs = {
        "features_extractor_class": NatureCNN,
        "features_extractor_kwargs": {"features_dim": 7},
        "normalize_observations": False,
    }
    env = AnyEnv(IMAGE, spaces.Discrete(3))
    PPO("SpikingCnnPolicy", env, policy_kwargs=policy_kwargs).save(tmp_path / "agent.zip")
    assert "hidden0" in info(capsys, tmp_path / "agent.zip")["256 observations"]


def test_networks_of_absurd_size_are_not_made(agent, tmp_path, capsys):
    path = with_data(agent, tmp_path / "huge.zip", policy_kwargs={"time_steps": 10**9})
    assert "are not made" in refused(path, capsys)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder_population": 10**8},
        {"decoder_population": 10**8},
        {"decoder_population": None},
        {"encoder": "direct"},
    ],
    ids=str,
)
def test_options_that_do_not_fit_the_weights_are_refused_before_anything_is_allocated(
    agent, tmp_path, capsys, monkeypatch, options
):
    monkeypatch.setattr("sb3_spiking.cli.info.SpikingNetwork", None)
    path = with_data(agent, tmp_path / "odd.zip", policy_kwargs=options)
    assert "do not fit the options" in refused(path, capsys)


LAYERS = "actor.mu.layers."


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (lambda name: name.startswith(f"{LAYERS}0."), "are not those of a spiking network"),
        (lambda name: name.startswith("actor.mu.decoder.") or f"{LAYERS}0." in name, "with a hidden layer"),
        (lambda name: name != f"{LAYERS}0.synapses.weight", "are not those of a spiking network"),
        (lambda name: not name.startswith(f"{LAYERS}2."), "do not fit"),
    ],
    ids=["only the first layer", "no hidden layer", "no first layer", "no output populations"],
)
def test_weights_that_make_no_network_are_named(agent, tmp_path, capsys, kept, problem):
    path = with_state(
        agent, tmp_path / "odd.zip", lambda state: {name: value for name, value in state.items() if kept(name)}
    )
    assert problem in refused(path, capsys)


@pytest.mark.parametrize("layer", ["layers.0.synapses", "layers.1.synapses", "decoder"])
@pytest.mark.parametrize("shape", [(0, 16), (16, 0), (16, 10**6), (2, 3, 4, 5)], ids=str)
def test_weights_of_odd_shapes_are_refused(agent, tmp_path, capsys, layer, shape):
    weight = th.zeros(1).expand(shape)
    path = with_state(agent, tmp_path / "odd.zip", lambda state: {**state, f"actor.mu.{layer}.weight": weight})
    assert "odd.zip" in refused(path, capsys)


def test_an_agent_that_does_not_spike_is_refused(tmp_path, capsys):
    PPO("MlpPolicy", "CartPole-v1").save(tmp_path / "agent.zip")
    assert main(["info", str(tmp_path / "agent.zip")]) == 2
    assert "no spiking policy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rate", "writable", "said"),
    [
        (0.287, True, "silent inputs are skipped where at most 29 % fire, from costs measured on this machine"),
        (-0.1, True, "dense, from costs measured on this machine"),
        (None, True, "costs are not measured yet"),
        (None, False, "by default costs: none can be kept"),
    ],
)
def test_the_choice_of_products_is_told(rate, writable, said):
    assert products_text(KernelInfo(True, None, "~/kernels", writable, True, rate)) == said
