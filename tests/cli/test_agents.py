"""What commands do with each kind of file: agents play, and all else is told what it is and where it belongs."""

import base64
import io
import json
import re
import sys
import warnings
import zipfile

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from sb3_spiking.cli import main
from sb3_spiking.cli.foreign import foreign
from sb3_spiking.conversion import convert
from sb3_spiking.evaluation.agents import TrainedAgent
from sb3_spiking.reading.inspection import inspect_zip
from sb3_spiking.reading.spiking_model import read_spiking_model

ENVS = {
    TD3: "Pendulum-v1",
    DDPG: "Pendulum-v1",
    SAC: "Pendulum-v1",
    PPO: "CartPole-v1",
    A2C: "CartPole-v1",
    DQN: "CartPole-v1",
}


def model_of(algorithm, policy="PopSANPolicy", **kwargs):
    settings = {"policy_kwargs": {"net_arch": [8, 8]}, "seed": 0, "device": "cpu", **kwargs}
    if algorithm not in (PPO, A2C):
        settings["buffer_size"] = 100
    return algorithm(policy, ENVS[algorithm], **settings)


def refused(capsys, *words):
    """Return the one line of an error."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("algorithm", ENVS, ids=lambda algorithm: algorithm.__name__)
def test_evaluate_plays_what_sb3_has_trained(algorithm, tmp_path, capsys):
    model = model_of(algorithm)
    path = tmp_path / f"agent-{ENVS[algorithm]}.zip"
    model.save(path)
    assert "--trust" in refused(capsys, "evaluate", path)
    assert main(["evaluate", str(path), "--trust", "--episodes", "2", "--seed", "3"]) == 0
    printed = capsys.readouterr().out
    env = make_vec_env(ENVS[algorithm], 2, seed=3)
    returns, _ = evaluate_policy(model, env, 2, return_episode_rewards=True)
    assert f"{np.mean(returns):.1f} +- {np.std(returns):.1f}" in printed
    assert f"{algorithm.__name__}, PopSANPolicy" in printed
    for row in ("encoder", "hidden0", "hidden1", "accumulates", "multiply-accumulates"):
        assert row in printed


def test_a_model_is_loaded_to_act_not_to_learn(tmp_path, capsys):
    """SB3 would warn of the n steps, and make a replay buffer of many gigabytes or ask for HER's environment."""
    model = model_of(TD3, n_steps=3)
    model.buffer_size = 10**12
    model.save(tmp_path / "agent-Pendulum-v1.zip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["evaluate", str(tmp_path / "agent-Pendulum-v1.zip"), "--trust", "--episodes", "1"]) == 0


def test_what_is_missing_is_said_before_sb3_loads(tmp_path, capsys, monkeypatch):
    model_of(TD3).save(tmp_path / "agent.zip")
    monkeypatch.setattr(TD3, "load", lambda *_, **__: pytest.fail("loaded"))
    for command in ("evaluate", "watch"):
        assert "no environment is known; pass --env" in refused(capsys, command, tmp_path / "agent.zip", "--trust")
        wrong = refused(capsys, command, tmp_path / "agent.zip", "--trust", "--env", "CartPole-v1")
        assert "does not fit the agent" in wrong


def test_some_actions_are_random_when_asked():
    for algorithm in (TD3, PPO):
        agent = TrainedAgent(model_of(algorithm).policy, algorithm.__name__)
        agent.action_space.seed(0)
        chosen = np.zeros((1000, *agent.action_space.shape), agent.action_space.dtype)
        assert (agent.choose(chosen) == chosen).all()
        drawn = agent.choose(chosen, 0.5)
        changed = (drawn != chosen).reshape(1000, -1).any(axis=1).mean()
        assert changed == pytest.approx(0.5 if algorithm is TD3 else 0.25, abs=0.05)


class MaskedEnv(gym.Env):
    """Five steps; only the action that the step names is valid."""

    observation_space = spaces.Box(-1.0, 1.0, (3,))
    action_space = spaces.Discrete(7)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        assert action == self.steps
        self.steps += 1
        return np.zeros(3, np.float32), 1.0, self.steps == 5, False, {}

    def action_masks(self):
        return np.arange(7) == self.steps


def test_masked_actions_are_never_chosen(tmp_path, capsys):
    contrib = pytest.importorskip("sb3_contrib", reason="MaskablePPO is in sb3-contrib")
    gym.register("Masked-v0", MaskedEnv)
    try:
        path = tmp_path / "agent-Masked-v0.zip"
        contrib.MaskablePPO("PopSANPolicy", "Masked-v0", policy_kwargs={"net_arch": [8]}).save(path)
        assert main(["evaluate", str(path), "--trust", "--episodes", "2"]) == 0
        assert "5.0 +- 0.0" in capsys.readouterr().out
        assert "masks" in refused(capsys, "evaluate", path, "--trust", "--epsilon", "0.5", "-q")
    finally:
        del gym.registry["Masked-v0"]


def test_a_module_in_the_working_directory_is_found(tmp_path, capsys, monkeypatch):
    model_of(TD3).save(tmp_path / "agent.zip")
    (tmp_path / "armmodule.py").write_text(
        "import gymnasium as gym\nfrom gymnasium.envs.classic_control import PendulumEnv\n"
        "gym.register('Arm-v0', PendulumEnv, max_episode_steps=10)\n"
    )
    named = ["evaluate", tmp_path / "agent.zip", "--trust", "--episodes", "1", "--env", "armmodule:Arm-v0"]
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    assert "neither installed nor in the folder" in refused(capsys, *named)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert main([str(word) for word in [*named[:-1], "Pendulum-v1"]]) == 0
    assert sys.path == before  # nothing is looked for here unless it is named
    assert main([str(word) for word in named]) == 0
    del gym.registry["Arm-v0"]


@pytest.fixture
def files(tmp_path):
    """Return files of many kinds."""
    dqn = model_of(DQN, "MlpPolicy")
    dqn.save(tmp_path / "dqn.zip")
    convert(dqn, observations=np.zeros((10, 4), np.float32)).save(tmp_path / "snn.zip")
    for name, policy in (("plain", "MlpPolicy"), ("spiking", "PopSANPolicy")):
        model_of(TD3, policy).save(tmp_path / f"{name}.zip")
    dqn.save_replay_buffer(tmp_path / "buffer.pkl")
    VecNormalize(make_vec_env("CartPole-v1")).save(tmp_path / "vecnormalize.pkl")
    th.save(dqn.policy.state_dict(), tmp_path / "weights.pth")
    dqn.policy.save(tmp_path / "policy.zip")
    np.savez(tmp_path / "states.npz", states=np.zeros(3))
    np.save(tmp_path / "states.npy", np.zeros(3))
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "figure.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty.zip").touch()
    return tmp_path


TOLD = {
    "buffer.pkl": "is a replay buffer",
    "vecnormalize.pkl": "--vec-normalize takes them",
    "weights.pth": "holds weights alone",
    "policy.zip": "holds weights alone",
    "states.npz": "--observations of convert",
    "states.npy": "--observations of convert",
    "report.json": "the network is in the zip file beside it",
    "figure.png": "is a picture",
    "notes.txt": "is no zip file",
    "empty.zip": "is empty",
    "dqn": "did you mean",
    "none.zip": "no such file",
    ".": "is a folder; pass a zip file in it: dqn.zip",
}


def test_a_file_is_told_what_it_is_by_every_command(files, capsys):
    for name, told in TOLD.items():
        for command in ("convert", "evaluate", "watch", "inspect"):
            path = files / name
            if command == "inspect" and foreign(path) and path.is_file() and path.read_bytes().startswith(b"PK"):
                assert main(["inspect", str(path)]) == 0  # there is something to see in it
                assert told in capsys.readouterr().err
            else:
                assert told in refused(capsys, command, path), (name, command)


@pytest.mark.parametrize(
    ("command", "name", "told"),
    [
        ("convert", "snn.zip", "is converted already"),
        ("convert", "spiking.zip", "there is nothing to convert; sb3-spiking evaluate and watch play it as it is"),
        ("convert", "plain.zip", "is a TD3 agent; only DQN and QRDQN"),
        ("evaluate", "dqn.zip", "is a DQN of SB3, not a converted network; run sb3-spiking convert first"),
        ("watch", "dqn.zip", "is a DQN of SB3, not a converted network; run sb3-spiking convert first"),
        ("evaluate", "plain.zip", "is a TD3 of SB3 with TD3Policy, which does not spike"),
        ("watch", "plain.zip", "is a TD3 of SB3 with TD3Policy, which does not spike"),
        ("evaluate", "spiking.zip", "is a TD3 model of SB3; if you trust its author, --trust"),
    ],
)
def test_an_agent_is_told_which_command_takes_it(files, capsys, command, name, told):
    said = refused(capsys, command, files / name)
    assert told in said
    assert said.count(name) == 1


def test_enjoy_takes_no_file(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["enjoy", "agent.zip"])
    assert "evaluate plays agent.zip, and watch films it" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ENVS, ids=lambda algorithm: algorithm.__name__)
def test_inspect_reads_the_spiking_network_as_data(algorithm, tmp_path, capsys):
    kwargs = {"net_arch": [8, 4], "time_steps": 7, "neuron": "lif", "neuron_kwargs": {"threshold": 0.7}}
    model = model_of(algorithm, policy_kwargs=kwargs)
    path = tmp_path / "agent.zip"
    model.save(path)
    contents = inspect_zip(path)
    assert contents.algorithm == algorithm.__name__
    described = read_spiking_model(path, contents)
    network = model.policy.spiking_network
    assert described.options == model.policy.spiking_options
    weights = [*(layer.synapses.weight for layer in network.layers), network.decoder.weight]
    assert described.layers == tuple(tuple(weight.shape) for weight in weights)
    assert described.spiking_parameters == sum(parameter.numel() for parameter in network.parameters())
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr().out
    for text in ("time steps", "7", "lif (threshold=0.7", "rect (width=0.5)", "deterministic (", algorithm.__name__):
        assert text in printed
    assert printed.index("time steps") < printed.index("tensor")


def test_inspect_survives_arguments_that_are_not_allowed(tmp_path, capsys):
    model = model_of(TD3)
    model.policy_kwargs = {"time_steps": -1, "neuron_kwargs": ["\x1b[31m"]}
    model.save(tmp_path / "agent.zip")
    assert main(["inspect", str(tmp_path / "agent.zip")]) == 0
    printed = capsys.readouterr().out
    assert "not valid: time_steps=-1 must be an integer" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *((name, "evilmodule:Thing") for name in ("neuron", "surrogate", "encoder", "decoder", "conv_arch")),
        *((name, "evilmodule:Thing") for name in ("membrane_norm", "precision")),
        *((name, {"reset": "evilmodule:Thing"}) for name in ("neuron_kwargs", "surrogate_kwargs", "decoder_kwargs")),
        ("conv_arch", [["evilmodule:Thing", 3, 1]]),
    ],
)
def test_inspect_imports_no_class_that_a_file_names(argument, value, pickled, tmp_path, capsys, monkeypatch):
    (tmp_path / "evilmodule.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    model = model_of(TD3)
    model.policy_kwargs = {"time_steps": 7, argument: value, f"{argument}_kwargs": {"its_own": 1}}
    if pickled:
        model.policy_kwargs["optimizer_class"] = th.optim.SGD
    model.save(tmp_path / "agent.zip")
    assert main(["inspect", str(tmp_path / "agent.zip")]) == 0
    assert "evilmodule" not in sys.modules
    printed = capsys.readouterr().out
    assert re.search(rf"{argument} +.*evilmodule:Thing.* \(not imported\)\n", printed)
    assert re.search(r"time steps +7\n", printed)  # the rest is shown
    assert "its_own" in printed
    assert "not valid" not in printed


def test_inspect_survives_arguments_of_a_few_bytes_that_stand_for_gigabytes(tmp_path, capsys):
    laughs = b"(lp0\n" + b"".join(b"(lp%d\n" % n + b"g%d\na" % (n - 1) * 9 for n in range(1, 40))
    pickle = base64.b64encode(b"(dp99\nS'neuron_kwargs'\n" + laughs + b"s.").decode()
    model_of(TD3).save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as source, zipfile.ZipFile(tmp_path / "evil.zip", "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "data":
                data = json.loads(content) | {"policy_kwargs": {":type:": "dict", ":serialized:": pickle}}
                content = json.dumps(data).encode()
            target.writestr(name, content)
    assert main(["inspect", str(tmp_path / "evil.zip")]) == 0
    assert "more than 300 values" in capsys.readouterr().err


def test_long_tables_are_cut_unless_asked_for(tmp_path, capsys):
    model_of(TD3).save(tmp_path / "agent.zip")
    for words, whole in (([], False), (["--tensors"], True)):
        assert main(["inspect", str(tmp_path / "agent.zip"), *words]) == 0
        printed = capsys.readouterr().out
        assert ("more; --tensors shows all" in printed) != whole
        assert ("critic_target.qf1.4.bias" in printed) == whole


def test_a_pickle_is_never_read_whole(tmp_path):
    """Replay buffers have gigabytes."""
    path = tmp_path / "buffer.pkl"
    head = io.BytesIO(b"\x80\x04cstable_baselines3.common.buffers\nReplayBuffer\n").getvalue()
    with path.open("wb") as file:
        file.write(head)
        file.truncate(2**40)
    assert "replay buffer" in foreign(path)
