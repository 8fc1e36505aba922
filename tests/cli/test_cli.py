"""The command line, in one process; what it runs is tested where it lives."""

import base64
import json
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO

import sb3_spiking
from sb3_spiking.cli import console, main
from sb3_spiking.conversion import SpikingQPolicy, convert
from sb3_spiking.snn.operations import nanojoules

FEW = ["--states", "200", "--episodes", "2"]


@pytest.fixture
def dqn(tmp_path):
    """Return the file of a small DQN, whose name says where it lives."""
    path = tmp_path / "dqn-CartPole-v1.zip"
    DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [16, 16]}, buffer_size=100, seed=0).save(path)
    return path


def refused(capsys, *words):
    """Return the one line of an error; nothing is printed beside it."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert printed.err.startswith(f"sb3-spiking {words[0]}: error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_convert_writes_what_it_says(dqn, capsys):
    assert main(["convert", str(dqn), *FEW]) == 0
    printed = capsys.readouterr()
    assert "names --env CartPole-v1" in printed.err
    assert names(dqn.parent) == [dqn.name, *(f"dqn-CartPole-v1_snn.{suffix}" for suffix in ("json", "png", "zip"))]
    content = json.loads((dqn.parent / "dqn-CartPole-v1_snn.json").read_text())
    assert content["coding"] == "ternary"
    assert content["time_steps"] == 10
    assert 0.9 < content["agreement"] <= 1.0
    assert f"{content['dqn_return']:.1f} +- " in printed.out
    assert len(content["snn_returns"]) == 2
    assert (dqn.parent / "dqn-CartPole-v1_snn.png").read_bytes().startswith(b"\x89PNG")
    snn = SpikingQPolicy.load(dqn.parent / "dqn-CartPole-v1_snn.zip")
    assert snn.origin["env"]["id"] == "CartPole-v1"


def test_the_same_command_gives_the_same_numbers_and_the_same_network(dqn, capsys, tmp_path):
    contents = []
    for name in ("a", "b"):
        assert (
            main(["convert", str(dqn), *FEW, "-o", str(tmp_path / f"{name}.zip"), "--coding", "rate", "-T", "8"]) == 0
        )
        contents.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert contents[0] == contents[1]
    one, other = (SpikingQPolicy.load(tmp_path / f"{name}.zip") for name in ("a", "b"))
    for name, tensor in one.network.state_dict().items():
        assert (tensor == other.network.state_dict()[name]).all()


def test_python_gives_the_network_that_the_command_writes(dqn):
    assert main(["convert", str(dqn), *FEW, "-q", "--seed", "3"]) == 0
    written = SpikingQPolicy.load(dqn.parent / "dqn-CartPole-v1_snn.zip").network.state_dict()
    for name, tensor in convert(dqn, env="CartPole-v1", states=200, seed=3).network.state_dict().items():
        assert (tensor == written[name]).all()


def test_quiet_prints_nothing_and_the_next_command_prints_again(dqn, capsys):
    assert main(["convert", str(dqn), *FEW, "-q"]) == 0
    printed = capsys.readouterr()
    assert printed.out == printed.err == ""
    assert main(["inspect", str(dqn)]) == 0
    assert "DQN" in capsys.readouterr().out


def test_the_zip_alone_is_enough(dqn, capsys):
    alone = dqn.rename(dqn.parent / "agent.zip")
    assert main(["convert", str(alone), "--states", "100"]) == 0
    printed = capsys.readouterr()
    assert "--env ID gives better ones" in printed.err
    content = json.loads((dqn.parent / "agent_snn.json").read_text())
    assert content["dqn_return"] is content["snn_return"] is None
    assert 0.0 <= content["agreement"] <= 1.0


def test_states_of_a_file_are_calibrated_on(dqn, tmp_path):
    states = tmp_path / "states.npz"
    np.savez(states, observations=np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    alone = dqn.rename(dqn.parent / "agent.zip")
    assert main(["convert", str(alone), "--observations", str(states)]) == 0
    assert SpikingQPolicy.load(tmp_path / "agent_snn.zip").origin["calibration_states"] == 40


def test_sweeps_are_printed_and_recorded(dqn, capsys):
    assert main(["convert", str(dqn), *FEW, "--coding", "few-spike", "--sweep-time", "--sweep-threshold"]) == 0
    assert "99.9%" in capsys.readouterr().out
    sweeps = json.loads((dqn.parent / "dqn-CartPole-v1_snn.json").read_text())["sweeps"]
    assert list(sweeps["time steps"]) == ["2", "4", "8", "16"]  # float32 has no digits for 32
    assert list(sweeps["threshold"]) == ["max*2", "max*1.5", "max", "99.9%", "99%", "95%"]
    errors = [result["q_error"] for result in sweeps["time steps"].values()]
    assert errors == sorted(errors, reverse=True)


def test_fine_tuning_from_the_command_line(dqn):
    assert main(["convert", str(dqn), *FEW, "--coding", "rate", "-T", "4", "--finetune", "3"]) == 0
    assert SpikingQPolicy.load(dqn.parent / "dqn-CartPole-v1_snn.zip").origin["finetune_steps"] == 3


def test_nothing_is_overwritten_unless_asked(dqn, capsys):
    for name in ("dqn-CartPole-v1_snn.json", "dqn-CartPole-v1_snn.zip"):
        (dqn.parent / name).write_text("mine")
        assert "--force" in refused(capsys, "convert", dqn, *FEW)
        assert (dqn.parent / name).read_text() == "mine"
        (dqn.parent / name).unlink()
    (dqn.parent / "dqn-CartPole-v1_snn.png").write_text("mine")
    assert main(["convert", str(dqn), *FEW, "--force"]) == 0
    assert "is the file to convert" in refused(capsys, "convert", dqn, "-o", dqn, "--force")


def test_an_interrupted_conversion_leaves_nothing_behind(dqn, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sb3_spiking.conversion.studies.compare", interrupt)
    assert main(["convert", str(dqn), *FEW]) == 130
    assert names(dqn.parent) == [dqn.name]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--env", "NoSuchEnv-v0"], "--env NoSuchEnv-v0 is unknown; name its package with it: --env package:id"),
        (["--env", "Acrobot-v1"], "does not fit the agent"),
        (["--env-kwargs", '{"a": 1}'], "--env-kwargs needs --env"),
        (["--frame-stack", "0"], "--frame-stack needs --env"),
        (["--threshold", "most"], "--threshold most"),
        (["-T", "0"], "--time-steps 0"),
        (["-T", "40"], "at most 14"),
        (["--initial", "0.5"], "--coding ternary has no initial"),
        (["--coding", "rate", "--settling", "64"], "--settling 64"),
        (["--states", "0"], "--states 0"),
        (["--episodes", "0"], "--episodes 0"),
        (["--finetune", "-1"], "--finetune -1"),
        (["--epsilon", "2"], "--epsilon 2.0"),
        (["--observations", "none.npz"], "none.npz: no such file"),
        (["-o", "nowhere/snn.zip"], "no folder nowhere"),
        (["-o", "snn.txt"], "must end in .zip"),
    ],
)
def test_bad_options_are_one_clear_line(dqn, capsys, options, said):
    assert said in refused(capsys, "convert", dqn, *options)
    assert names(dqn.parent) == [dqn.name]


def test_bad_files_are_one_clear_line(dqn, tmp_path, capsys):
    assert "no such file" in refused(capsys, "convert", tmp_path / "none.zip")
    PPO("MlpPolicy", "CartPole-v1").save(tmp_path / "ppo.zip")
    assert "PPO" in refused(capsys, "convert", tmp_path / "ppo.zip")
    tanh = DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"activation_fn": th.nn.Tanh}, buffer_size=10)
    tanh.save(tmp_path / "tanh.zip")
    assert "Tanh" in refused(capsys, "convert", tmp_path / "tanh.zip")
    whole = dqn.read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])
    assert "no complete zip file" in refused(capsys, "convert", tmp_path / "half.zip")
    assert "no complete zip file" in refused(capsys, "inspect", tmp_path / "half.zip")
    assert "run sb3-spiking convert first" in refused(capsys, "evaluate", dqn)


@pytest.mark.parametrize("quantiles", [False, True])
def test_a_policy_of_ones_own_is_run_when_its_file_is_trusted(tmp_path, capsys, quantiles):
    algorithm = pytest.importorskip("sb3_contrib", reason="QR-DQN is in sb3-contrib").QRDQN if quantiles else DQN
    own_policy = type("OwnPolicy", (algorithm.policy_aliases["MlpPolicy"],), {})
    own = tmp_path / "agent-CartPole-v1.zip"
    model = algorithm(own_policy, "CartPole-v1", policy_kwargs={"net_arch": [16]}, buffer_size=100, seed=0)
    model.save(own)
    assert "--trust" in refused(capsys, "convert", own, *FEW)
    assert main(["convert", str(own), *FEW, "--trust", "--coding", "few-spike", "-q"]) == 0
    observations = np.random.default_rng(0).uniform(-0.1, 0.1, (5, 4)).astype(np.float32)
    with th.no_grad():
        network = model.quantile_net if quantiles else model.q_net
        wanted = network(th.from_numpy(observations)).reshape(5, -1, 2).mean(dim=1).numpy()
    values, _ = SpikingQPolicy.load(tmp_path / "agent-CartPole-v1_snn.zip").q_values(observations)
    np.testing.assert_allclose(values, wanted, atol=1e-3)


def test_a_trusted_file_that_sb3_cannot_load_is_one_clear_line(dqn, tmp_path, capsys):
    broken = tmp_path / "broken-CartPole-v1.zip"
    with zipfile.ZipFile(dqn) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "data":
                data = json.loads(content)
                data["policy_class"][":serialized:"] = base64.b64encode(b"cnosuchmodule\nPolicy\n.").decode()
                content = json.dumps(data).encode()
            target.writestr(name, content)
    assert "--trust" in refused(capsys, "convert", broken)
    assert "No module named 'nosuchmodule'" in refused(capsys, "convert", broken, "--trust")


def test_evaluate_plays_what_was_converted(dqn, capsys):
    assert main(["convert", str(dqn), *FEW, "-q", "--coding", "residual", "-T", "4"]) == 0
    snn = str(dqn.parent / "dqn-CartPole-v1_snn.zip")
    content = json.loads((dqn.parent / "dqn-CartPole-v1_snn.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", snn, "--episodes", "2"]) == 0
    printed = capsys.readouterr()
    assert "was converted with --env CartPole-v1" in printed.err
    assert f"{content['snn_return']:.1f} +- " in printed.out
    # The ordinary ANN of a converted network is its DQN.
    (energy,) = [line.split()[-1] for line in printed.out.splitlines() if "of the ordinary ANN" in line]
    assert energy == nanojoules(content["dqn_joules"])
    assert "does not fit" in refused(capsys, "evaluate", snn, "--env", "Acrobot-v1")
    assert "must end in" in refused(capsys, "evaluate", snn, "--video", "film.avi")


@pytest.mark.slow
def test_atari_is_stacked_scaled_and_played_as_the_dqn_played_it(tmp_path, capsys):
    pytest.importorskip("ale_py", reason="Atari is an extra")
    pytest.importorskip("cv2", reason="Atari is an extra")
    short = {"max_num_frames_per_episode": 300}
    env = sb3_spiking.make_atari_env("PongNoFrameskip-v4", env_kwargs=short)
    path = tmp_path / "dqn-PongNoFrameskip-v4.zip"
    model = DQN("CnnPolicy", env, buffer_size=200, learning_starts=50, seed=0).learn(80)
    model.save(path)
    options = ["--states", "60", "--episodes", "2", "--epsilon", "0.05", "--coding", "few-spike", "-T", "12"]
    named = ["--env", "PongNoFrameskip-v4", "--atari", "--env-kwargs", json.dumps(short)]
    assert main(["convert", str(path), *options, *named]) == 0
    assert "of Q" in capsys.readouterr().out
    content = json.loads((tmp_path / "dqn-PongNoFrameskip-v4_snn.json").read_text())
    assert content["agreement"] > 0.9
    assert content["latency"] == 4 * 12  # three convolutions, one fully connected layer
    assert content["settings"]["env"]["frame_stack"] == 4
    snn = SpikingQPolicy.load(tmp_path / "dqn-PongNoFrameskip-v4_snn.zip")
    env.seed(0)
    frames = np.moveaxis(env.reset(), -1, 1)
    assert frames.dtype == np.uint8
    with th.no_grad():
        wanted = model.q_net(model.policy.obs_to_tensor(frames)[0]).numpy()
    np.testing.assert_allclose(snn.q_values(frames)[0], wanted, atol=0.01 * np.abs(wanted).max())


def test_inspect_shows_what_a_pickle_would_import(dqn, capsys):
    assert main(["inspect", str(dqn)]) == 0
    printed = capsys.readouterr()
    assert "q_net.q_net.0.weight" in printed.out
    assert "stable_baselines3.dqn.policies.DQNPolicy" in printed.out
    assert "warning" not in printed.err
    assert main(["convert", str(dqn), *FEW, "-q"]) == 0
    assert main(["inspect", str(dqn.parent / "dqn-CartPole-v1_snn.zip")]) == 0
    assert "Ternary(time_steps=10)" in capsys.readouterr().out


def test_inspect_warns_of_foreign_imports(dqn, capsys, tmp_path):
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(dqn) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "data":
                data = json.loads(content)
                pickle = base64.b64encode(b"cposix\nsystem\n(S'true'\ntR.").decode()
                data["ep_info_buffer"] = {":type:": "deque", ":serialized:": pickle}
                content = json.dumps(data).encode()
            target.writestr(name, content)
    assert main(["inspect", str(evil)]) == 0
    assert "ep_info_buffer would import posix.system" in capsys.readouterr().err


def test_the_module_is_the_command():
    result = subprocess.run(
        [sys.executable, "-m", "sb3_spiking", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"sb3-spiking {sb3_spiking.__version__}\n"


def test_warnings_are_lines_of_the_program_and_not_of_its_source(capsys):
    with console.plain_warnings():
        warnings.warn("mind\nthe gap", stacklevel=1)
    assert capsys.readouterr().err == "warning: mind the gap\n"
