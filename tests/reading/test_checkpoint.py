"""Checkpoints are read as `DQN.load` would, but as data: nothing in the file runs, and nothing but errors of ours."""

import base64
import io
import os
import pickle
import zipfile
from importlib.util import find_spec

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.dqn.policies import DQNPolicy

from sb3_spiking.conversion.agent import load_dqn, read_or_trust
from sb3_spiking.policies import ConvExtractor
from sb3_spiking.policies.registry import ALGORITHMS, NAMES
from sb3_spiking.reading.algorithms import OF_POLICIES
from sb3_spiking.reading.checkpoint import read_checkpoint
from sb3_spiking.reading.inspection import inspect_zip
from tests.envs import AnyEnv
from tests.reading.agents import (
    AGENTS,
    BOX,
    CONVOLUTIONAL,
    GRID,
    Evil,
    OwnActivation,
    OwnConvExtractor,
    OwnExtractor,
    OwnPolicy,
    convolutional,
    data_of,
    dqn,
    pickled,
    refused,
    rewritten,
    torch_file,
    with_conv_arch,
    with_data,
)
from tests.reference import zoo_agent


def check_equal(checkpoint, model, network):
    assert checkpoint.observation_space == model.observation_space
    assert checkpoint.action_space == model.action_space
    assert checkpoint.features_extractor == type(network.features_extractor).__name__
    assert checkpoint.activation == model.policy.activation_fn.__name__
    assert list(checkpoint.net_arch) == model.policy.net_arch
    assert checkpoint.normalize_images is model.policy.normalize_images
    assert checkpoint.timesteps == model.num_timesteps
    state = network.state_dict()
    assert list(checkpoint.weights) == list(state)
    assert all(th.equal(checkpoint.weights[name], weight) for name, weight in state.items())
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, th.nn.Conv2d)}
    assert list(checkpoint.strides.items()) == [(name, layer.stride[0]) for name, layer in layers.items()]


@pytest.mark.parametrize("name", AGENTS)
def test_equal_to_what_dqn_loads(tmp_path, name):
    dqn(**AGENTS[name]).save(tmp_path / "agent.zip")
    checkpoint = read_checkpoint(str(tmp_path / "agent.zip"))
    model = DQN.load(tmp_path / "agent.zip", device="cpu")
    check_equal(checkpoint, model, model.q_net)
    assert (checkpoint.algorithm, checkpoint.n_quantiles) == ("DQN", None)
    assert checkpoint.policy == AGENTS[name].get("policy", "MlpPolicy")


@pytest.mark.parametrize("name", ["mlp", "deep", "cnn", "dict", "grid", "deep grid"])
@pytest.mark.parametrize("n_quantiles", [None, 7])
def test_equal_to_what_qrdqn_loads(tmp_path, name, n_quantiles):
    contrib = pytest.importorskip("sb3_contrib", reason="QR-DQN is in sb3-contrib")
    quantiles = {"n_quantiles": n_quantiles} if n_quantiles else {}
    dqn(algorithm=contrib.QRDQN, **AGENTS[name], **quantiles).save(tmp_path / "agent.zip")
    checkpoint = read_checkpoint(tmp_path / "agent.zip")
    model = contrib.QRDQN.load(tmp_path / "agent.zip", device="cpu")
    check_equal(checkpoint, model, model.policy.quantile_net)
    assert (checkpoint.algorithm, checkpoint.n_quantiles) == ("QRDQN", n_quantiles or 200)
    assert checkpoint.policy == AGENTS[name].get("policy", "MlpPolicy")


def states(space, n=16):
    """Return some observations."""
    drawn = [space.sample() for _ in range(n)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([one[key] for one in drawn]) for key in space.spaces}
    return np.stack(drawn)


@pytest.mark.parametrize("name", [name for name in CONVOLUTIONAL if name != "no image"])
@pytest.mark.parametrize("quantiles", [False, True])
def test_convolutions_decide_as_those_that_dqn_loads(tmp_path, name, quantiles):
    algorithm = pytest.importorskip("sb3_contrib", reason="QR-DQN is in sb3-contrib").QRDQN if quantiles else DQN
    dqn(algorithm=algorithm, **AGENTS[name]).save(tmp_path / "agent.zip")
    model = algorithm.load(tmp_path / "agent.zip", device="cpu")
    space = model.observation_space
    space.seed(0)
    batch = states(space)
    with th.no_grad():
        tensors = model.policy.obs_to_tensor(batch)[0]
        expected = model.policy.quantile_net(tensors).mean(1) if quantiles else model.q_net(tensors)
    for source in (tmp_path / "agent.zip", model):
        policy = load_dqn(source)
        assert isinstance(policy.network.layers[0], th.nn.Conv2d)
        np.testing.assert_allclose(policy.q_values(batch)[0], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(policy.predict(batch)[0], model.predict(batch, deterministic=True)[0])


def test_equal_after_learning(tmp_path):
    model = dqn().learn(20)
    model.save(tmp_path / "agent.zip")
    check_equal(read_checkpoint(tmp_path / "agent.zip"), model, model.q_net)


@pytest.mark.parametrize(
    ("name", "algorithm", "n_quantiles", "net_arch", "observations", "timesteps"),
    [
        ("dqn-CartPole-v1", "DQN", None, (64, 64), 4, 50_000),
        ("others/dqn-CartPole-v1", "DQN", None, (256, 256), 4, 50176),
        ("others/dqn-Acrobot-v1", "DQN", None, (256, 256), 6, 100000),
        ("others/qrdqn-Acrobot-v1", "QRDQN", 25, (256, 256), 6, 100000),
    ],
)
def test_files_of_sb3_1_0(name, algorithm, n_quantiles, net_arch, observations, timesteps):
    path = zoo_agent(name)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.algorithm, checkpoint.policy, checkpoint.n_quantiles) == (algorithm, "MlpPolicy", n_quantiles)
    assert (checkpoint.net_arch, checkpoint.activation) == (net_arch, "ReLU")
    assert checkpoint.sb3_version.startswith("1.0")
    assert checkpoint.timesteps == timesteps
    bounds = gym.make(path.stem.split("-", 1)[1]).observation_space
    np.testing.assert_allclose(checkpoint.observation_space.high[0], bounds.high[0], rtol=1e-6)
    assert checkpoint.observation_space.shape == (observations,)
    contents = inspect_zip(path)
    assert (contents.algorithm, contents.problems) == (algorithm, ())
    assert "gym.spaces.box.Box" in contents.pickles["observation_space"]


def test_reading_draws_no_random_numbers(tmp_path):
    dqn(**AGENTS["cnn"]).save(tmp_path / "agent.zip")
    before = th.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 (SB3 draws from it)
    read_checkpoint(tmp_path / "agent.zip")
    assert th.equal(before[0], th.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


# Nothing in the file runs.


def test_the_payload_runs_where_sb3_loads_the_file(tmp_path, saved):
    evil = Evil(tmp_path / "executed")
    path = with_data(saved, tmp_path / "evil.zip", ep_info_buffer=pickled([evil]))
    DQN.load(path, device="cpu")
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("key", ["policy_class", "policy_kwargs", "observation_space", "action_space"])
def test_nothing_runs_in_what_is_read(tmp_path, saved, evil, key):
    clear = data_of(saved)[key]
    clear = {name: value for name, value in clear.items() if name != ":serialized:"}
    path = with_data(saved, tmp_path / "evil.zip", **{key: pickled(evil, **clear)})
    refused(path)
    assert inspect_zip(path).pickles[key] == (f"{os.mkdir.__module__}.mkdir",)


@pytest.mark.parametrize("key", ["ep_info_buffer", "lr_schedule", "replay_buffer_class", "_last_obs", "new"])
def test_nothing_runs_in_what_is_not_read(tmp_path, saved, evil, key):
    path = with_data(saved, tmp_path / "evil.zip", **{key: pickled([evil])})
    assert read_checkpoint(path).algorithm == "DQN"
    assert inspect_zip(path).pickles[key] == (f"{os.mkdir.__module__}.mkdir",)


def test_nothing_runs_inside_a_good_space(tmp_path, evil):
    model = dqn()
    model.observation_space._np_random = evil
    model.save(tmp_path / "evil.zip")
    assert read_checkpoint(tmp_path / "evil.zip").observation_space == BOX
    assert f"{os.mkdir.__module__}.mkdir" in inspect_zip(tmp_path / "evil.zip").pickles["observation_space"]


def test_nothing_runs_inside_good_policy_kwargs(tmp_path, evil):
    model = dqn(net_arch=[8], activation_fn=th.nn.Tanh)
    model.policy_kwargs["optimizer_kwargs"] = evil
    model.save(tmp_path / "evil.zip")
    assert read_checkpoint(tmp_path / "evil.zip").activation == "Tanh"


@pytest.mark.parametrize("member", ["policy_pth", "policy_optimizer_pth", "pytorch_variables_pth"])
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_nothing_runs_in_torch_files(tmp_path, saved, evil, member, form):
    content = torch_file({"q_net.q_net.0.weight": evil}) if form == "torch" else cloudpickle.dumps(evil)
    path = rewritten(saved, tmp_path / "evil.zip", **{member: content})
    if member == "policy_pth":
        assert "weights_only" not in refused(path)  # torch's text would recommend weights_only=False
    else:
        read_checkpoint(path)
    contents = inspect_zip(path)
    if form == "torch":
        assert any(f"{os.mkdir.__module__}.mkdir" in names for names in contents.pickles.values())
    else:
        assert any(".pth" in problem for problem in contents.problems)


# Agents that cannot be converted.


@pytest.mark.parametrize(("algorithm", "name"), [(PPO, "PPO"), (A2C, "A2C"), (TD3, "TD3"), (SAC, "SAC")])
def test_other_algorithms_are_named(tmp_path, algorithm, name):
    observations, actions = spaces.Box(-2, 2, (3,)), spaces.Box(-1, 1, (2,))
    algorithm("MlpPolicy", AnyEnv(observations, actions), device="cpu").save(tmp_path / "agent.zip")
    assert f"is a {name} agent; only DQN and QRDQN" in refused(tmp_path / "agent.zip")
    contents = inspect_zip(tmp_path / "agent.zip")
    assert (contents.algorithm, contents.problems) == (name, ())
    assert contents.spaces == {"observation_space": str(observations), "action_space": str(actions)}
    assert contents.tensors


def test_a_class_that_moves_takes_its_name_in_files_along():
    # Saved agents hold these names: a new place of a class needs an entry of its own, beside the old one.
    assert f"{ConvExtractor.__module__}.{ConvExtractor.__name__}" == "sb3_spiking.policies.observations.ConvExtractor"
    for algorithm in ALGORITHMS:
        modules = {policy.__module__ for name, policy in algorithm.policy_aliases.items() if name in NAMES}
        assert {OF_POLICIES.get(module, algorithm.__name__) for module in modules} == {algorithm.__name__}
    own = [module for module in OF_POLICIES if module.startswith("sb3_spiking.")]
    assert not [module for module in own if find_spec(module) is None]


@pytest.mark.parametrize("local", [True, False])
def test_policies_of_ones_own_need_trust(tmp_path, local):
    class LocalPolicy(DQNPolicy):
        pass

    dqn(policy=LocalPolicy if local else OwnPolicy).save(tmp_path / "agent.zip")
    text = refused(tmp_path / "agent.zip")
    assert "trust=True" in text
    assert local or "OwnPolicy" in text
    assert inspect_zip(tmp_path / "agent.zip").algorithm == "DQN"  # by what SB3 saved beside its policy


def test_weights_of_torch_before_its_zip_files_need_trust(tmp_path, saved):
    old = io.BytesIO()
    with zipfile.ZipFile(saved) as archive:
        state = th.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    th.save(state, old, _use_new_zipfile_serialization=False)
    path = rewritten(saved, tmp_path / "old.zip", policy_pth=old.getvalue())
    assert "torch before 1.6; if you trust its author, trust=True" in refused(path)
    read = read_or_trust(path, trust=True)
    for name, tensor in read_checkpoint(saved).weights.items():
        assert th.equal(read.weights[name], tensor)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("features_extractor_class", OwnExtractor),
        ("features_extractor_class", OwnConvExtractor),
        ("activation_fn", OwnActivation),
    ],
)
def test_layers_of_ones_own_are_refused_by_name(tmp_path, argument, value):
    model = dqn(**{argument: value})
    model.save(tmp_path / "agent.zip")
    text = refused(tmp_path / "agent.zip")
    assert value.__name__ in text
    assert argument == "activation_fn" or "only those of SB3 and sb3_spiking.policies.ConvExtractor" in text
    with pytest.raises(ValueError, match=value.__name__):
        load_dqn(model)


@pytest.mark.parametrize(
    "entries",
    [{"vector": BOX}, {"grid": GRID, "vector": BOX}, {"grid": GRID, "other": GRID}, {"discrete": spaces.Discrete(3)}],
)
def test_branches_are_refused(tmp_path, entries):
    model = dqn(**convolutional(spaces.Dict(entries), "MultiInputPolicy"))
    model.save(tmp_path / "agent.zip")
    assert "its branches are no stack of layers" in refused(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match="its branches are no stack of layers"):
        load_dqn(model)


SPIKING = {
    "PopSANPolicy": BOX,
    "SpikingMlpPolicy": BOX,
    "SpikingCnnPolicy": GRID,
    "SpikingMultiInputPolicy": spaces.Dict(a=GRID),
}


@pytest.mark.parametrize("policy", SPIKING)
@pytest.mark.parametrize("quantiles", [False, True])
def test_agents_that_spike_already_are_refused_as_such(tmp_path, policy, quantiles):
    algorithm = pytest.importorskip("sb3_contrib", reason="QR-DQN is in sb3-contrib").QRDQN if quantiles else DQN
    model = dqn(SPIKING[policy], policy, algorithm, net_arch=[8])
    model.save(tmp_path / "agent.zip")
    text = refused(tmp_path / "agent.zip")
    assert "spikes already" in text
    assert policy in text
    assert "trust" not in text
    with pytest.raises(ValueError, match="spikes already"):
        load_dqn(model)


def test_agents_of_other_algorithms_that_spike_are_refused_as_such(tmp_path):
    actions = spaces.Box(-1, 1, (2,))
    model = TD3("PopSANPolicy", AnyEnv(BOX, actions), device="cpu", buffer_size=10, policy_kwargs={"net_arch": [8]})
    model.save(tmp_path / "agent.zip")
    assert "spikes already" in refused(tmp_path / "agent.zip")


# Convolutions that a file describes.


FORM = "conv_arch is neither a name nor a list of convolutions"


@pytest.mark.parametrize(
    ("conv_arch", "reason"),
    [
        ("large", "conv_arch='large' is unknown; choose one of: 'nature', 'small'"),
        ("nature", "conv_arch='nature' is too deep for images of 10 x 12"),
        ("", "unknown"),
        ("\x1b[2J" * 10**6, "conv_arch="),
        (3, FORM),
        (True, FORM),
        (b"small", FORM),
        ([], FORM),
        ({}, FORM),
        ({"small": 1}, FORM),
        (ConvExtractor, FORM),
        ([16, 3, 1], FORM),
        (["small"], FORM),
        ([[16, 3]], FORM),
        ([[16, 3, 1, 0]], FORM),
        ([[16, 3, 1], None], FORM),
        ([[16, 3, 1.0]], FORM),
        ([[16, 3, True]], FORM),
        ([[16, 3, "1"]], FORM),
        ([[16, 3, 10**30]], FORM),
        ([[10**30, 3, 1]], FORM),
        ([[16, 3, 2**62]], FORM),
        ([[1, 1, 1]] * 150_000, FORM),
        ([[16, 3, 0]], "must be an integer >= 1"),
        ([[-16, 3, 1]], "must be an integer >= 1"),
        ([[16, 3, -(10**5000)]], FORM),
        ([[16, 11, 1]], "a kernel of 11 meets 10 x 12"),
        ([[16, 3, 1], [16, 9, 1]], "a kernel of 9 meets 8 x 10"),
        ([[60_000, 1, 1]] * 100, "missing"),
        ([[16, 3, 1]] * 2, "missing"),
        ([[17, 3, 1]], "(16, 4, 3, 3)"),
        ([[16, 4, 1]], "(16, 4, 3, 3)"),
        ([[16, 3, 2]], "(128, 1280); the other weights and the spaces need (128, 320)"),
    ],
)
def test_wrong_convolutions_are_named(tmp_path, saved_grid, conv_arch, reason):
    path = with_conv_arch(saved_grid, tmp_path / "wrong.zip", conv_arch)
    assert reason in refused(path)
    inspect_zip(path)


@pytest.mark.parametrize("conv_arch", [None, "small", [[16, 3, 1]], ((16, 3, 1),), [[np.int64(16), 3, np.int8(1)]]])
def test_convolutions_may_be_written_in_any_way(tmp_path, saved_grid, conv_arch):
    checkpoint = read_checkpoint(with_conv_arch(saved_grid, tmp_path / "grid.zip", conv_arch))
    assert checkpoint.strides == {"features_extractor.torso.branches.0.1": 1}


def test_convolutions_that_nest_without_end_cost_no_more_than_their_opcodes(tmp_path, saved_grid):
    path = with_conv_arch(saved_grid, tmp_path / "good.zip", "small")
    good = pickle.dumps({"features_extractor_class": ConvExtractor, "features_extractor_kwargs": {"conv_arch": 77}}, 4)
    doubled = b")" + b"2\x86" * 1000  # a tuple of twice itself, 1000 times
    for nested in (doubled, doubled + b"\x85", doubled + b"22\x87\x85"):
        # Frames know their length, so they are left out.
        content = good[:2] + good[11:].replace(b"K\x4d", nested)
        kwargs = {":type:": "", ":serialized:": base64.b64encode(content).decode()}
        assert FORM in refused(with_data(path, tmp_path / "nested.zip", policy_kwargs=kwargs))


def test_nothing_runs_in_convolutions(tmp_path, saved_grid, evil):
    for conv_arch in (evil, [evil], [[16, 3, evil]]):
        assert FORM in refused(with_conv_arch(saved_grid, tmp_path / "evil.zip", conv_arch))


@pytest.mark.parametrize("module", ["sb3_spiking.policies", "sb3_spiking.policies.observations2", "evil"])
def test_only_the_extractors_own_name_is_taken_for_it(tmp_path, saved_grid, module):
    content = b"\x80\x04}X\x18\x00\x00\x00features_extractor_class"
    content += b"c" + module.encode() + b"\nConvExtractor\ns."
    kwargs = {":type:": "", ":serialized:": base64.b64encode(content).decode()}
    path = with_data(saved_grid, tmp_path / "other.zip", policy_kwargs=kwargs)
    assert f"{module}.ConvExtractor; only those of SB3" in refused(path)
