"""Whatever is wrong with a file, it is said in one line; no other error comes through, and no time is lost."""

import base64
import io
import json
import struct
import tracemalloc
import warnings
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sb3_spiking.reading import archive
from sb3_spiking.reading.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from sb3_spiking.reading.inspection import inspect_zip
from tests.reading.agents import (
    AGENTS,
    BOX,
    GRID,
    MIXED,
    data_of,
    dqn,
    pickled,
    refused,
    rewritten,
    with_conv_arch,
    with_data,
    with_state,
)


def test_no_file(tmp_path):
    assert "no such file" in refused(tmp_path / "missing.zip")
    assert "no such file" in refused(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        inspect_zip(tmp_path / "missing.zip")


def test_damaged(tmp_path, saved):
    content = bytearray(saved.read_bytes())
    content[content.index(b"policy.pth") + 3000] ^= 1
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    assert "'policy.pth' is damaged; save or download" in refused(path)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.6, 0.9, 0.999])
def test_truncated(tmp_path, saved, part):
    content = saved.read_bytes()
    path = tmp_path / "truncated.zip"
    path.write_bytes(content[: int(len(content) * part)])
    assert "download it again" in refused(path)  # even where it ends in a zip file of torch's
    with pytest.raises(CheckpointError, match="download it again"):
        inspect_zip(path)


@pytest.mark.parametrize("member", ["data", "policy_pth"])
def test_missing_members(tmp_path, saved, member):
    path = rewritten(saved, tmp_path / "missing.zip", **{member: None})
    assert "0 members" in refused(path)
    assert any("0 members" in problem for problem in inspect_zip(path).problems)


@pytest.mark.parametrize("member", ["data", "policy.pth", "_stable_baselines3_version"])
def test_members_that_are_there_twice(tmp_path, saved, member):
    path = rewritten(saved, tmp_path / "twice.zip")
    with zipfile.ZipFile(path, "a") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        file.writestr(member, file.read(member))
    assert "2 members" in refused(path)
    assert [name for name, _ in inspect_zip(path).members].count(member) == 2


def test_names_are_taken_exactly(tmp_path, saved):
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(tmp_path / "renamed.zip", "w") as renamed:
        for name in source.namelist():
            renamed.writestr(f"./{name}", source.read(name))
    assert "0 members 'data'" in refused(tmp_path / "renamed.zip")


def test_files_without_version_and_timesteps(tmp_path, saved):
    data = {key: value for key, value in data_of(saved).items() if key != "num_timesteps"}
    path = rewritten(saved, tmp_path / "bare.zip", data=json.dumps(data), _stable_baselines3_version=None)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.sb3_version, checkpoint.timesteps) == (None, None)


def test_too_large(saved, monkeypatch):
    monkeypatch.setattr(archive, "MAX_DATA", 1000)
    assert "more than any agent needs" in refused(saved)


def test_zip_bombs_are_not_unpacked(tmp_path, saved):
    """Neither by an honest header, nor by one that promises less."""
    path = rewritten(saved, tmp_path / "bomb.zip", data=None)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", b" " * 2**25)
    content = path.read_bytes()
    lying = tmp_path / "lying.zip"
    lying.write_bytes(content.replace(struct.pack("<I", 2**25), struct.pack("<I", 1000)))
    tracemalloc.start()
    assert "more than any agent needs" in refused(path)
    assert "damaged" in refused(lying)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_bombs_inside_torch_files_are_not_unpacked(tmp_path, saved):
    with zipfile.ZipFile(saved) as source:
        inner = zipfile.ZipFile(io.BytesIO(source.read("policy.pth")))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name in inner.namelist():
            file.writestr(name, inner.read(name) + b"\0" * 10_000)
    assert "damaged" in refused(rewritten(saved, tmp_path / "bomb.zip", policy_pth=packed.getvalue()))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 50_000])
def test_data_that_is_no_json_object(tmp_path, saved, content):
    path = rewritten(saved, tmp_path / "data.zip", data=content)
    assert "'data'" in refused(path)
    assert any("'data'" in problem for problem in inspect_zip(path).problems)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("policy_class", None, "policy class"),
        ("policy_class", "stable_baselines3.dqn.policies.DQNPolicy", "policy class"),
        ("policy_kwargs", None, "policy_kwargs is no dict"),
        ("policy_kwargs", [], "policy_kwargs is no dict"),
        ("policy_kwargs", {"normalize_images": 1}, "normalize_images is no bool"),
        ("policy_kwargs", {"activation_fn": "ReLU"}, "activation function"),
        ("policy_kwargs", {"features_extractor_class": "NatureCNN"}, "features extractor"),
        ("policy_kwargs", {"features_extractor_kwargs": 3}, "features_extractor_kwargs is no dict"),
        ("policy_kwargs", {":serialized:": 5}, "no text"),
        ("policy_kwargs", {":serialized:": "A"}, "padding|base64|pickle"),
        ("policy_kwargs", {":serialized:": ""}, "broken pickle"),
        ("observation_space", None, "no Box"),
        ("observation_space", {"n": 3}, "no Box"),
        ("action_space", pickled(BOX), "action_space is no Discrete"),
        ("num_timesteps", "many", "num_timesteps is no int"),
        ("num_timesteps", True, "num_timesteps is no int"),
    ],
)
def test_wrong_values_are_named(tmp_path, saved, key, value, reason):
    path = with_data(saved, tmp_path / "wrong.zip", **{key: value})
    assert any(part in refused(path) for part in reason.split("|"))
    inspect_zip(path)


def test_texts_from_the_file_cannot_write_to_the_terminal(tmp_path, saved):
    evil = "q_net.\x1b[2J\nname\u202e"
    path = with_state(saved, tmp_path / "terminal.zip", lambda state: {**state, evil: th.zeros(1)})
    path = with_data(path, tmp_path / "both.zip", policy_kwargs={"\x1b[2J": "\ud800", "net_arch": [8]})
    refused(path)
    contents = inspect_zip(path)
    assert contents.policy_kwargs.isprintable()
    assert all(name.isprintable() for name in contents.tensors)


FIRST = "q_net.q_net.0.weight"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: {}, "missing"),
        (lambda state: [], "no tensors by name"),
        (lambda state: {**state, "n": 3}, "'n' is no dense tensor"),
        (lambda state: {key: value for key, value in state.items() if key != "q_net.q_net.0.bias"}, "q_net.0.bias"),
        (lambda state: {key.replace("q_net", "actor"): value for key, value in state.items()}, "missing"),
        (lambda state: {**state, "q_net.q_net.1.weight": th.zeros(8)}, "unknown ['q_net.1.weight']"),
        (lambda state: {**state, FIRST: th.full((8, 3), th.nan)}, "not finite"),
        (lambda state: {**state, FIRST: th.full((8, 3), -th.inf)}, "not finite"),
        (lambda state: {**state, FIRST: th.zeros(8, 4)}, "(8, 4)"),
        (lambda state: {**state, FIRST: th.zeros(9, 3)}, "shape"),
        (lambda state: {**state, "q_net.q_net.0.bias": th.zeros(9)}, "(9,)"),
        (lambda state: {**state, "q_net.q_net.2.weight": th.zeros(4, 8)}, "(4, 8)"),
        (lambda state: {**state, FIRST: th.zeros(())}, "no dense float32"),
        (lambda state: {**state, FIRST: th.zeros(0, 3)}, "policy.pth"),
        (lambda state: {**state, FIRST: th.zeros(8, 3).double()}, "no dense float32"),
        (lambda state: {**state, FIRST: th.zeros(8, 3, dtype=th.complex64)}, "no dense tensor"),
        (lambda state: {**state, FIRST: th.zeros(8, 3).to_sparse()}, "no dense tensor"),
        (lambda state: {**state, FIRST: th.zeros(8, 3, device="meta")}, "no dense tensor"),
        (lambda state: {**state, FIRST: th.zeros(1).expand(2**40, 3)}, "no dense float32"),
        (lambda state: {**state, FIRST: th.nn.Parameter(th.zeros(8, 3))}, "no dense tensor"),
        (lambda state: {**state, FIRST: th.nested.nested_tensor([th.zeros(2), th.zeros(3)])}, "no dense tensor"),
        (lambda state: {**state, FIRST: th.quantize_per_tensor(th.zeros(8, 3), 1.0, 0, th.qint8)}, "no dense tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_weights_that_do_not_fit(tmp_path, saved, change, reason):
    path = with_state(saved, tmp_path / "weights.zip", change)
    assert reason in refused(path)
    inspect_zip(path)


@pytest.mark.parametrize(
    ("name", "key", "space"),
    [
        ("mlp", "observation_space", spaces.Discrete(4)),
        ("mlp", "observation_space", spaces.Dict(a=BOX)),
        ("mlp", "action_space", spaces.Discrete(4)),
        ("cnn", "observation_space", BOX),
        ("cnn", "observation_space", spaces.Box(0, 255, (2, 40, 50), np.uint8)),
        ("cnn", "observation_space", spaces.Box(0, 255, (2, 35, 40), np.uint8)),
        ("cnn", "observation_space", spaces.Box(0, 254, (2, 36, 40), np.uint8)),
        ("grid", "observation_space", BOX),
        ("grid", "observation_space", spaces.Discrete(3)),
        ("grid", "observation_space", spaces.Dict(grid=GRID, more=BOX)),
        ("grid", "observation_space", spaces.Box(0, 255, (3, 10, 12), np.uint8)),
        ("grid", "observation_space", spaces.Box(0, 255, (4, 10, 13), np.uint8)),
        ("grid", "observation_space", spaces.Box(0, 255, (4, 2, 12), np.uint8)),
        pytest.param(
            *("grid", "observation_space", spaces.Box(0, 255, (0, 10, 12), np.uint8)),
            marks=pytest.mark.filterwarnings("ignore:Initializing zero-element tensors"),
        ),
        ("grid", "observation_space", spaces.Box(0, 255, (4, 36, 40), np.uint8)),
        ("grid", "observation_space", spaces.Box(0, 254, (4, 10, 12), np.uint8)),
        ("dict", "observation_space", BOX),
        ("dict", "observation_space", spaces.Dict({**MIXED.spaces, "image": BOX})),
        ("dict", "observation_space", spaces.Dict({**MIXED.spaces, "one more": spaces.Discrete(2)})),
    ],
)
def test_spaces_of_another_agent(tmp_path, name, key, space):
    dqn(**AGENTS[name]).save(tmp_path / "agent.zip")
    refused(with_data(tmp_path / "agent.zip", tmp_path / "other.zip", **{key: pickled(space)}))


def test_quantiles_of_another_agent(tmp_path):
    contrib = pytest.importorskip("sb3_contrib", reason="QR-DQN is in sb3-contrib")
    dqn(algorithm=contrib.QRDQN, n_quantiles=6).save(tmp_path / "agent.zip")
    for wrong in ({}, {"n_quantiles": 5}, {"n_quantiles": 0}, {"n_quantiles": "6"}, {"n_quantiles": 6.0}):
        refused(with_data(tmp_path / "agent.zip", tmp_path / "other.zip", policy_kwargs=wrong))


# Whatever else there may be in a file.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
READ = ["policy_class", "policy_kwargs", "observation_space", "action_space", "num_timesteps", "learning_rate"]
fuzzing = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(path):
    """Read a file of any content: a checkpoint or our error, nothing else."""
    with suppress(CheckpointError):
        assert isinstance(read_checkpoint(path), Checkpoint)
    inspect_zip(path)


@given(st.sampled_from(READ), JSON)
@fuzzing
def test_any_json_value_at_the_first_level(tmp_path, saved, key, value):
    survives(with_data(saved, tmp_path / "fuzzed.zip", **{key: value}))


@given(st.sampled_from(READ), st.text(max_size=10) | st.sampled_from([":serialized:", ":type:", "net_arch"]), JSON)
@fuzzing
def test_any_json_value_at_the_second_level(tmp_path, saved, key, inner, value):
    old = data_of(saved)[key]
    old = old if isinstance(old, dict) else {}
    survives(with_data(saved, tmp_path / "fuzzed.zip", **{key: {**old, inner: value}}))


@given(
    st.sampled_from(["net_arch", "activation_fn", "normalize_images", "features_extractor_class", "n_quantiles"])
    | st.just("features_extractor_kwargs"),
    JSON,
)
@fuzzing
def test_any_argument_of_the_policy(tmp_path, saved, name, value):
    survives(with_data(saved, tmp_path / "fuzzed.zip", policy_kwargs={name: value}))


@given(JSON | st.lists(st.lists(st.integers(-1, 12), min_size=2, max_size=4), max_size=3))
@fuzzing
@pytest.mark.filterwarnings("ignore")
def test_any_convolutions(tmp_path, saved_grid, conv_arch):
    survives(with_conv_arch(saved_grid, tmp_path / "fuzzed.zip", conv_arch))


@given(st.sampled_from(READ[:4]), st.data())
@fuzzing
def test_any_changed_byte_of_a_pickle(tmp_path, saved, key, draw):
    item = data_of(saved)[key]
    content = bytearray(base64.b64decode(item[":serialized:"]))
    content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    item[":serialized:"] = base64.b64encode(content).decode()
    survives(with_data(saved, tmp_path / "fuzzed.zip", **{key: item}))


@given(st.data())
@fuzzing
@pytest.mark.filterwarnings("ignore")
def test_any_changed_byte_of_the_weights(tmp_path, saved, draw):
    with zipfile.ZipFile(saved) as source:
        content = bytearray(source.read("policy.pth"))
    for _ in range(draw.draw(st.integers(1, 3))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    survives(rewritten(saved, tmp_path / "fuzzed.zip", policy_pth=bytes(content)))


@given(st.data())
@fuzzing
def test_any_changed_byte_of_the_file(tmp_path, saved, draw):
    content = bytearray(saved.read_bytes())
    content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.zip"
    path.write_bytes(content)
    with suppress(CheckpointError):  # of inspect_zip, where this is no zip file any more
        survives(path)
