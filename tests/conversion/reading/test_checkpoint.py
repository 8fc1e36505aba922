"""Checkpoints are read as `DQN.load` would, but as data: nothing in the file runs, and nothing but errors of ours."""

import base64
import copy
import io
import json
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from contextlib import suppress

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.dqn.policies import DQNPolicy

from sb3_spiking.conversion.agent import load_dqn
from sb3_spiking.conversion.reading import archive
from sb3_spiking.conversion.reading.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from sb3_spiking.conversion.reading.inspection import inspect_zip
from sb3_spiking.policies import ConvExtractor
from tests.conftest import REFERENCE

BOX = spaces.Box(np.float32([-1.0, 2.0, -np.inf]), np.float32([1.0, 3.0, np.inf]))
IMAGE = spaces.Box(0, 255, (2, 36, 40), np.uint8)
GRID = spaces.Box(0, 255, (4, 10, 12), np.uint8)
MIXED = spaces.Dict(
    image=IMAGE,
    box=BOX,
    discrete=spaces.Discrete(4),
    bits=spaces.MultiBinary([2, 2]),
    many=spaces.MultiDiscrete([2, 3]),
)


class Spaces(gym.Env):
    """Nothing but an observation and an action space."""

    def __init__(self, observation_space=BOX, action_space=None):
        self.observation_space = copy.deepcopy(observation_space)
        self.action_space = action_space or spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Evil:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class OwnPolicy(DQNPolicy):
    pass


class OwnExtractor(FlattenExtractor):
    pass


class OwnConvExtractor(ConvExtractor):
    pass


class OwnActivation(th.nn.ReLU):
    pass


def dqn(observation_space=BOX, policy="MlpPolicy", algorithm=DQN, env=None, **policy_kwargs):
    env = env or Spaces(observation_space)
    return algorithm(policy, env, buffer_size=10, device="cpu", policy_kwargs=policy_kwargs)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a good file."""
    path = tmp_path_factory.mktemp("saved") / "dqn.zip"
    dqn(net_arch=[8], activation_fn=th.nn.ReLU).save(path)
    return path


@pytest.fixture(scope="module")
def saved_grid(tmp_path_factory):
    """Return a good file of an agent with convolutions of our own."""
    path = tmp_path_factory.mktemp("saved") / "grid.zip"
    dqn(**AGENTS["small grid"]).save(path)
    return path


@pytest.fixture
def evil(tmp_path):
    """Return what makes a folder when unpickled, and prove that nothing did."""
    folder = tmp_path / "executed"
    yield Evil(folder)
    assert not folder.exists()


def rewritten(path, target, **changes):
    """Copy a zip file with other members; None leaves one out. Underscores stand for dots."""
    changes = {name.replace("_pth", ".pth").replace("_optimizer", ".optimizer"): new for name, new in changes.items()}
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copied:
        for name in source.namelist():
            content = changes.get(name, source.read(name))
            if content is not None:
                copied.writestr(name, content)
    return target


def data_of(path):
    with zipfile.ZipFile(path) as source:
        return json.loads(source.read("data"))


def with_data(path, target, **changes):
    return rewritten(path, target, data=json.dumps({**data_of(path), **changes}))


def with_state(path, target, change):
    """Copy a zip file with another state dict."""
    with zipfile.ZipFile(path) as source:
        state = th.load(io.BytesIO(source.read("policy.pth")), weights_only=True)
    return rewritten(path, target, policy_pth=torch_file(change(state)))


def torch_file(value):
    buffer = io.BytesIO()
    th.save(value, buffer)
    return buffer.getvalue()


def pickled(value, **clear):
    return {":type:": "<class 'x'>", **clear, ":serialized:": base64.b64encode(cloudpickle.dumps(value)).decode()}


def refused(path):
    """Return why a file is refused, in one printable line that names the file."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert text.isprintable()
    assert str(path) in text
    return text


def convolutional(observation_space=GRID, policy="CnnPolicy", net_arch=(), **extractor_kwargs):
    return {
        "observation_space": observation_space,
        "policy": policy,
        "net_arch": list(net_arch),
        "features_extractor_class": ConvExtractor,
        "features_extractor_kwargs": extractor_kwargs,
    }


CONVOLUTIONAL = {
    "grid": {key: value for key, value in convolutional().items() if key != "features_extractor_kwargs"},
    "grid by size": convolutional(conv_arch=None),
    "small grid": convolutional(conv_arch="small"),
    "grid with hidden layers": convolutional(net_arch=[16, 8], conv_arch=[[5, 3, 1]]),
    "strided grid": convolutional(conv_arch=((5, 2, 3),)),
    "deep grid": convolutional(conv_arch=[(6, 3, 1), [7, 4, 2], (8, 1, 1), [9, 2, 20]]),
    "image by size": convolutional(IMAGE),
    "nature image": convolutional(IMAGE, conv_arch="nature"),
    "image of ones own": convolutional(IMAGE, conv_arch=[[4, 8, 4]]),
    "scaled grid": {
        **convolutional(spaces.Box(-1, 1, (2, 10, 10), np.float32), normalized_image=True, normalize=False),
        "normalize_images": False,
    },
    "raw grid": {**convolutional(conv_arch="small"), "normalize_images": False},
    "no image": {**convolutional(spaces.Box(-1, 1, (2, 5, 5))), "normalize_images": False, "policy": "MlpPolicy"},
    "grid in a dict": convolutional(spaces.Dict(grid=GRID), "MultiInputPolicy", conv_arch=[[6, 3, 2]]),
}
AGENTS = {
    "mlp": {},
    "deep": {"net_arch": [32, 16, 8], "activation_fn": th.nn.Tanh},
    "linear": {"net_arch": []},
    "discrete": {"observation_space": spaces.Discrete(5)},
    "multidiscrete": {"observation_space": spaces.MultiDiscrete([3, 4])},
    "multibinary": {"observation_space": spaces.MultiBinary(6)},
    "float64": {"observation_space": spaces.Box(-1, 1, (2, 3), np.float64)},
    "optimizer": {"optimizer_class": th.optim.SGD, "optimizer_kwargs": {"momentum": 0.5}},
    "cnn": {"observation_space": IMAGE, "policy": "CnnPolicy"},
    "small cnn": {
        "observation_space": IMAGE,
        "policy": "CnnPolicy",
        "net_arch": [16],
        "features_extractor_kwargs": {"features_dim": 32},
    },
    "scaled image": {
        "observation_space": spaces.Box(0, 1, (1, 36, 36), np.float32),
        "policy": "CnnPolicy",
        "normalize_images": False,
    },
    "flat image": {"observation_space": IMAGE, "features_extractor_class": FlattenExtractor, "net_arch": [4]},
    "dict": {"observation_space": MIXED, "policy": "MultiInputPolicy", "net_arch": [8]},
    **CONVOLUTIONAL,
}


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
    model = dqn(env=Spaces(BOX)).learn(20)
    model.save(tmp_path / "agent.zip")
    check_equal(read_checkpoint(tmp_path / "agent.zip"), model, model.q_net)


@pytest.mark.parametrize(
    ("name", "algorithm", "n_quantiles", "net_arch", "observations", "timesteps"),
    [
        ("dqn-CartPole-v1", "DQN", None, (256, 256), 4, 50176),
        ("dqn-Acrobot-v1", "DQN", None, (256, 256), 6, 100000),
        ("qrdqn-Acrobot-v1", "QRDQN", 25, (256, 256), 6, 100000),
    ],
)
def test_files_of_sb3_1_0(name, algorithm, n_quantiles, net_arch, observations, timesteps):
    path = REFERENCE / "zoo-dqn" / f"{name}.zip"
    if not path.exists():
        pytest.skip(f"the reference agent is not here: {path}")
    checkpoint = read_checkpoint(path)
    assert (checkpoint.algorithm, checkpoint.policy, checkpoint.n_quantiles) == (algorithm, "MlpPolicy", n_quantiles)
    assert (checkpoint.net_arch, checkpoint.activation, checkpoint.sb3_version) == (net_arch, "ReLU", "1.0rc0")
    assert checkpoint.timesteps == timesteps
    bounds = gym.make(name.split("-", 1)[1]).observation_space
    np.testing.assert_allclose(checkpoint.observation_space.high[0], bounds.high[0], rtol=1e-6)
    assert checkpoint.observation_space.shape == (observations,)
    contents = inspect_zip(path)
    assert (contents.algorithm, contents.problems) == (algorithm, ())


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


@pytest.mark.parametrize(
    ("algorithm", "name"), [(PPO, "PPO"), (A2C, "A2C or TRPO"), (TD3, "TD3 or DDPG"), (SAC, "SAC")]
)
def test_other_algorithms_are_named(tmp_path, algorithm, name):
    observations, actions = spaces.Box(-2, 2, (3,)), spaces.Box(-1, 1, (2,))
    algorithm("MlpPolicy", Spaces(observations, actions), device="cpu").save(tmp_path / "agent.zip")
    assert f"is a {name} agent; only DQN and QRDQN" in refused(tmp_path / "agent.zip")
    contents = inspect_zip(tmp_path / "agent.zip")
    assert (contents.algorithm, contents.problems) == (name, ())
    assert contents.spaces == {"observation_space": str(observations), "action_space": str(actions)}
    assert contents.tensors


@pytest.mark.parametrize("local", [True, False])
def test_policies_of_ones_own_need_trust(tmp_path, local):
    class LocalPolicy(DQNPolicy):
        pass

    dqn(policy=LocalPolicy if local else OwnPolicy).save(tmp_path / "agent.zip")
    text = refused(tmp_path / "agent.zip")
    assert "--trust" in text
    assert local or "OwnPolicy" in text
    assert inspect_zip(tmp_path / "agent.zip").algorithm is None


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
    model = TD3("PopSANPolicy", Spaces(BOX, actions), device="cpu", buffer_size=10, policy_kwargs={"net_arch": [8]})
    model.save(tmp_path / "agent.zip")
    assert "spikes already" in refused(tmp_path / "agent.zip")


# Convolutions that a file describes.


def with_conv_arch(path, target, conv_arch):
    kwargs = {"features_extractor_class": ConvExtractor, "features_extractor_kwargs": {"conv_arch": conv_arch}}
    return with_data(path, target, policy_kwargs=pickled(kwargs))


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
        ([[16, 3, np.int64(1)]], FORM),
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


@pytest.mark.parametrize("conv_arch", [None, "small", [[16, 3, 1]], ((16, 3, 1),)])
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


# Damaged files.


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
        (lambda state: {**state, "n": 3}, "no tensors by name"),
        (lambda state: {**state, 3: th.zeros(1)}, "no tensors by name"),
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
        (lambda state: {**state, FIRST: th.zeros(0, 3)}, "no dense float32"),
        (lambda state: {**state, FIRST: th.zeros(8, 3).double()}, "no dense float32"),
        (lambda state: {**state, FIRST: th.zeros(8, 3, dtype=th.complex64)}, "no dense float32"),
        (lambda state: {**state, FIRST: th.zeros(8, 3).to_sparse()}, "no dense float32"),
        (lambda state: {**state, FIRST: th.zeros(8, 3, device="meta")}, "no dense float32"),
        (lambda state: {**state, FIRST: th.zeros(1).expand(2**40, 3)}, "no dense float32"),
        (lambda state: {**state, FIRST: th.nn.Parameter(th.zeros(8, 3))}, "no dense float32"),
        (lambda state: {**state, FIRST: th.nested.nested_tensor([th.zeros(2), th.zeros(3)])}, "no dense float32"),
        (lambda state: {**state, FIRST: th.quantize_per_tensor(th.zeros(8, 3), 1.0, 0, th.qint8)}, "no dense float32"),
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
