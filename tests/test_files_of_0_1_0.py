"""What users saved with version 0.1.0 loads and acts the same; tests/fixtures/0.1.0 holds such files."""

import base64
import importlib
import io
import json
import pickletools
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

import sb3_spiking
from sb3_spiking.cli import main
from sb3_spiking.conversion import SpikingQPolicy, load_dqn
from sb3_spiking.reading.inspection import inspect_zip
from sb3_spiking.reading.spiking_model import read_spiking_model
from tests.envs import AnyEnv

FILES = Path(__file__).parent / "fixtures" / "0.1.0"
CONVERTED = sorted(path.stem for path in FILES.glob("converted-*.zip"))
MODELS = sorted(path.stem for path in FILES.glob("*.zip") if path.stem not in (*CONVERTED, "classes"))
CONTRIB = {"tqc": "TQC", "crossq": "CrossQ", "trpo": "TRPO", "maskableppo": "MaskablePPO", "qrdqn": "QRDQN"}
TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
OURS = "sb3_spiking."

with np.load(FILES / "expected.npz", allow_pickle=False) as _arrays:
    EXPECTED = dict(_arrays)


def algorithm_of(name: str) -> type[BaseAlgorithm]:
    """Return the algorithm that a file is named after."""
    first = name.split("-")[0]
    if first in CONTRIB:
        return getattr(pytest.importorskip("sb3_contrib"), CONTRIB[first])
    return getattr(stable_baselines3, first.upper())


def load(name: str, **kwargs: Any) -> BaseAlgorithm:
    return algorithm_of(name).load(FILES / name, device="cpu", **kwargs)


def observations_of(name: str) -> Any:
    """Return the observations of a file, a dict of them for a Dict space."""
    prefix = f"{name}/observations/"
    entries = {key.removeprefix(prefix): array for key, array in EXPECTED.items() if key.startswith(prefix)}
    return entries.get("", entries)


def values_of(policy: Any, observations: Any) -> np.ndarray:
    """Return what a policy believes its actions to be worth."""
    policy.set_training_mode(False)
    tensors, _ = policy.obs_to_tensor(observations)
    with th.no_grad():
        if hasattr(policy, "critic"):
            values = policy.critic(tensors, policy._predict(tensors, deterministic=True))
            return th.cat(values, dim=1).numpy() if isinstance(values, tuple) else values.numpy()
        networks = (getattr(policy, name, None) for name in ("q_net", "quantile_net", "predict_values"))
        return next(network for network in networks if network is not None)(tensors).numpy()


def check_actions(name: str, actions: np.ndarray) -> None:
    expected = EXPECTED[f"{name}/actions"]
    if expected.dtype.kind == "i":
        np.testing.assert_array_equal(actions, expected)
    else:
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


def check_values(name: str, values: np.ndarray) -> None:
    np.testing.assert_allclose(values, EXPECTED[f"{name}/values"], rtol=1e-5, atol=1e-5)


def pickles_in(content: bytes) -> Iterator[bytes]:
    """Return the pickles in a file of SB3 or torch, and in the files of torch within."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            member = archive.read(name)
            if name == "data":
                items = [item for item in json.loads(member).values() if isinstance(item, dict)]
                yield from (base64.b64decode(item[":serialized:"]) for item in items if ":serialized:" in item)
            elif name.endswith(".pth"):
                yield from pickles_in(member)
            elif name.endswith(".pkl"):
                yield member


def globals_in(pickle: bytes) -> set[tuple[str, str]]:
    """Return the modules and names that a pickle would import."""
    found: set[tuple[str, str]] = set()
    texts: list[Any] = []  # what was pushed, None where it is no text
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(pickle):
        match opcode.name:
            case "GLOBAL":
                found.add(tuple(argument.split(" ", 1)))
                texts.append(None)
            case "STACK_GLOBAL":
                found.add((texts[-2], texts[-1]))
                texts.append(None)
            case "MEMOIZE":
                memo[len(memo)] = texts[-1]
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = texts[-1]
            case "BINGET" | "LONG_BINGET":
                texts.append(memo[argument])
            case "PROTO" | "FRAME":
                pass
            case name:
                texts.append(argument if name in TEXTS else None)
    return found


def our_globals() -> set[tuple[str, str]]:
    """Return what the files name of this package."""
    files = [path for path in FILES.iterdir() if path.suffix in (".zip", ".pth") and path.stem not in CONVERTED]
    found = {each for path in files for pickle in pickles_in(path.read_bytes()) for each in globals_in(pickle)}
    return {(module, name) for module, name in found if f"{module}.".startswith(OURS)}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_0_1_0_acts_and_values_as_it_did(name):
    model = load(name)
    check_actions(name, model.predict(observations_of(name), deterministic=True)[0])
    check_values(name, values_of(model.policy, observations_of(name)))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_0_1_0_trains_on(name):
    model = load(name)
    model.set_env(AnyEnv(model.observation_space, model.action_space))
    before = {key: tensor.clone() for key, tensor in model.policy.state_dict().items()}
    updates = model._n_updates
    model.learn(64, reset_num_timesteps=False)
    assert model.num_timesteps == 128
    assert model._n_updates > updates
    assert any((tensor != before[key]).any() for key, tensor in model.policy.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_of_0_1_0_fit_a_model_made_of_the_same_arguments(name):
    saved = load(name)
    env = AnyEnv(saved.observation_space, saved.action_space)
    # SAC writes its own argument among the policy's.
    kwargs = {key: value for key, value in saved.policy_kwargs.items() if key != "use_sde"}
    noise = {"use_sde": True} if saved.use_sde else {}
    model = algorithm_of(name)(saved.policy_class, env, policy_kwargs=kwargs, seed=1, device="cpu", **noise)
    model.set_parameters(FILES / f"{name}.zip")
    check_actions(name, model.predict(observations_of(name), deterministic=True)[0])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_0_1_0_is_inspected_as_data(name, capsys):
    path = FILES / f"{name}.zip"
    algorithm = algorithm_of(name)
    contents = inspect_zip(path)
    assert contents.problems == ()
    assert contents.algorithm == algorithm.__name__
    described = read_spiking_model(path, contents)
    if name == "dqn-ann":
        assert described is None
    else:
        policy = load(name).policy
        assert described.options == policy.spiking_options
        assert described.spiking_parameters == sum(each.numel() for each in policy.spiking_network.parameters())
    assert main(["inspect", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "", "warns of what this version wrote itself"
    assert ("spiking network" in printed.out) == (name != "dqn-ann")


def test_a_policy_of_0_1_0_that_was_saved_alone_acts_as_it_did():
    policy_class = type(load("ppo-mlp").policy)
    policy = policy_class.load(FILES / "ppo-mlp.policy.pth", device="cpu")
    check_actions("ppo-mlp", policy.predict(observations_of("ppo-mlp"), deterministic=True)[0])
    check_values("ppo-mlp", values_of(policy, observations_of("ppo-mlp")))


@pytest.mark.parametrize("name", CONVERTED)
def test_a_network_that_0_1_0_converted_decides_as_it_did(name, tmp_path):
    policy = SpikingQPolicy.load(FILES / f"{name}.zip")
    check_actions(name, policy.predict(observations_of(name), deterministic=True)[0])
    check_values(name, policy.q_values(observations_of(name))[0])
    policy.save(tmp_path / "again.zip")
    with zipfile.ZipFile(FILES / f"{name}.zip") as old, zipfile.ZipFile(tmp_path / "again.zip") as new:
        assert {member: new.read(member) for member in new.namelist()} == {
            member: old.read(member) for member in old.namelist()
        }


@pytest.mark.parametrize("name", CONVERTED)
def test_a_network_that_0_1_0_converted_is_inspected(name, capsys):
    assert main(["inspect", str(FILES / f"{name}.zip")]) == 0
    printed = capsys.readouterr()
    assert "latency" in printed.out
    assert printed.err == ""


def test_a_network_that_0_1_0_converted_plays_where_it_was_converted(capsys):
    assert main(["evaluate", str(FILES / "converted-ternary.zip"), "--episodes", "1"]) == 0
    printed = capsys.readouterr()
    assert "CartPole-v1" in printed.err, "where it was converted"
    assert "return (1 episodes)" in printed.out


def test_an_ann_of_0_1_0_with_our_extractor_is_read_as_data_and_decides_as_it_did():
    dqn = load_dqn(FILES / "dqn-ann.zip")
    check_actions("dqn-ann", dqn.predict(observations_of("dqn-ann"), deterministic=True)[0])
    check_values("dqn-ann", dqn.q_values(observations_of("dqn-ann"))[0])


def test_a_fresh_process_loads_a_model_of_0_1_0_without_importing_the_package_first():
    code = f"from stable_baselines3 import TD3; print(TD3.load({str(FILES / 'td3-popsan')!r}).policy_class.__name__)"
    root = Path(sb3_spiking.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "PopSANPolicy", done.stderr


@pytest.mark.parametrize(("module", "name"), sorted(our_globals()))
def test_what_files_of_0_1_0_name_of_this_package_can_be_imported(module, name):
    if ".contrib." in module and find_spec("sb3_contrib") is None:
        pytest.skip("sb3-contrib is an extra")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_files_of_0_1_0_name_every_policy_and_extractor_of_that_version():
    """An empty list of class paths would be importable as well."""
    found = our_globals()
    families = {"td3", "sac", "on_policy", "dqn", "contrib.tqc", "contrib.crossq", "contrib.maskable", "contrib.qrdqn"}
    policies = ("PopSANPolicy", "SpikingMlpPolicy", "SpikingCnnPolicy", "SpikingMultiInputPolicy")
    assert {(f"sb3_spiking.policies.{family}", policy) for family in families for policy in policies} <= found
    assert {("sb3_spiking.policies.observations", "ConvExtractor")} <= found
    assert {("sb3_spiking.policies.normalization", "RunningNormExtractor")} <= found


def test_the_policy_classes_of_0_1_0_are_those_that_algorithms_find_by_name():
    contrib = pytest.importorskip("sb3_contrib")
    classes, _, _ = load_from_zip_file(FILES / "classes.zip", device="cpu")
    assert len(classes) == 44
    for key, policy_class in classes.items():
        algorithm, name = key.split("/")
        found = getattr(stable_baselines3, algorithm, None) or getattr(contrib, algorithm)
        assert policy_class is found.policy_aliases[name], key


def test_the_wrapper_that_yaml_of_0_1_0_names_is_where_it_was():
    """Settings of rl_zoo3 say ``env_wrapper: sb3_spiking.environments.GridToImage``."""
    wrapper = importlib.import_module("sb3_spiking.environments").GridToImage
    assert wrapper is sb3_spiking.environments.GridToImage
    assert wrapper.__name__ == "GridToImage"
