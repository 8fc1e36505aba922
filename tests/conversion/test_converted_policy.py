import copy
import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_spiking.conversion import METHODS, SpikingQPolicy, calibration_states, convert, load_dqn
from sb3_spiking.conversion.policy import DenseQPolicy
from sb3_spiking.reading.archive import CheckpointError
from tests.conversion.agents import CODINGS, IMAGE, SPACES, VECTOR, Random, converted, dqn, observations, rows
from tests.reference import zoo_agent

# Every coding, and every kind of observation, one at least with another coding than the default.
SAVED = [(coding, "vector") for coding in CODINGS] + [
    ("residual" if kind == "dict" else "ternary", kind) for kind in SPACES if kind != "vector"
]
FRESH_PROCESS = """
import pickle, sys
from pathlib import Path
import numpy as np
from sb3_spiking.conversion import SpikingQPolicy
for path in sorted(Path(sys.argv[1]).glob("*.zip")):
    batch, expected, coding = pickle.loads(path.with_suffix(".expected").read_bytes())
    policy = SpikingQPolicy.load(path)
    assert repr(policy.network.coding) == coding, path
    np.testing.assert_array_equal(policy.q_values(batch)[0], expected, path.name)
    print(path.stem)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a good file."""
    path = tmp_path_factory.mktemp("saved") / "snn.zip"
    converted(SPACES["dict"])[0].save(path)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tampered(path, target, description=None, **changes):
    """Copy a file with other members; None leaves one out. ``description`` changes the JSON."""
    content = members(path)
    if description is not None:
        told = json.loads(content["agent.json"])
        description(told)
        content["agent.json"] = json.dumps(told).encode()
    content |= changes
    with zipfile.ZipFile(target, "w") as archive:
        for name, member in content.items():
            if member is not None:
                archive.writestr(name, member)
    return target


def npy(array):
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(array), allow_pickle=True)
    return content.getvalue()


def test_saved_policies_decide_the_same_in_a_fresh_process(tmp_path):
    names = []
    for coding, kind in SAVED:
        policy, _ = converted(SPACES[kind], coding, time_steps=7)
        path = tmp_path / f"{coding} of {kind}.zip"
        policy.save(path)
        batch = observations(SPACES[kind], n=5, seed=3)
        expected = (batch, policy.q_values(batch)[0], repr(policy.network.coding))
        path.with_suffix(".expected").write_bytes(pickle.dumps(expected))
        names.append(path.stem)
    command = [sys.executable, "-c", FRESH_PROCESS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n")[:-1]) == sorted(names)


@pytest.mark.parametrize("kind", SPACES)
def test_everything_else_is_saved_too(kind, tmp_path):
    policy, _ = converted(SPACES[kind])
    policy.epsilon, policy.origin["note"] = 0.25, "a note"
    policy.save(tmp_path / "snn.zip")
    loaded = SpikingQPolicy.load(str(tmp_path / "snn.zip"))
    assert loaded.observation_space == policy.observation_space
    assert loaded.action_space == policy.action_space
    assert loaded.normalize_images == policy.normalize_images
    assert (loaded.epsilon, loaded.origin) == (policy.epsilon, policy.origin)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_constants_of_the_coding_are_saved(tmp_path):
    policy, _ = converted(method="residual", time_steps=np.int64(9), alpha=0.25, settling=2, initial=0.125)
    policy.save(tmp_path / "snn.zip")
    assert SpikingQPolicy.load(tmp_path / "snn.zip").network.coding == policy.network.coding


def test_unscaled_images_stay_unscaled(tmp_path):
    model = dqn(IMAGE, normalize_images=False)
    batch = observations(IMAGE, n=8)
    policy = convert(model, batch)
    policy.save(tmp_path / "snn.zip")
    np.testing.assert_array_equal(
        SpikingQPolicy.load(tmp_path / "snn.zip").q_values(batch)[0], policy.q_values(batch)[0]
    )


def test_the_file_holds_json_and_numbers_but_no_pickle(saved):
    content = members(saved)
    assert json.loads(content.pop("agent.json"))["coding"] == {"name": "ternary", "time_steps": 10}
    assert {"layers.0.weight.npy", "layers.2.bias.npy", "output_scale.npy"} <= content.keys()
    for name, member in content.items():
        assert name.endswith(".npy")
        assert np.lib.format.read_array(io.BytesIO(member), allow_pickle=False).dtype != object
    with np.load(saved, allow_pickle=False) as arrays:
        assert arrays["layers.0.weight"].shape == (16, 9)


def test_a_file_stays_as_it_was_if_writing_fails(saved, tmp_path, monkeypatch):
    path = tmp_path / "snn.zip"
    path.write_bytes(saved.read_bytes())
    written = []

    def failing(member, array, **kwargs):
        written.append(array)
        if len(written) == 3:
            raise OSError("no space left on device")
        return original(member, array, **kwargs)

    original = np.lib.format.write_array
    monkeypatch.setattr(np.lib.format, "write_array", failing)
    with pytest.raises(OSError, match="no space"):
        converted()[0].save(path)
    assert path.read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_notes_that_json_cannot_hold_leave_the_file_as_it_was(saved, tmp_path):
    path = tmp_path / "snn.zip"
    path.write_bytes(saved.read_bytes())
    policy, _ = converted()
    policy.origin["note"] = object()
    with pytest.raises(TypeError):
        policy.save(path)
    assert path.read_bytes() == saved.read_bytes()


def test_a_file_is_overwritten_and_alone(saved, tmp_path):
    path = tmp_path / "snn.zip"
    path.write_bytes(saved.read_bytes())
    policy, _ = converted(method="rate")
    policy.save(path)
    assert SpikingQPolicy.load(path).network.coding.name == "rate"
    assert list(tmp_path.iterdir()) == [path]


def set_to(*keys):
    """Return a change of the JSON: the last of these becomes the value of the item that the others lead to."""

    def change(told):
        *path, key, value = keys
        for step in path:
            told = told[step]
        told[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_to("format", "sb3-spiking converted policy, version 2"), "is no sb3-spiking converted policy, version 1"),
        (set_to("coding", "name", "poisson"), "coding='poisson' is unknown"),
        (set_to("coding", "name", ["rate"]), "is unknown"),
        (set_to("coding", "time_steps", 16), "takes at most 14"),
        (set_to("coding", "time_steps", "10"), "time_steps='10'"),
        (set_to("coding", "alpha", 0.5), "has no 'alpha'"),
        (set_to("coding", None), "coding=None must be a JSON object"),
        (set_to("epsilon", 2.0), "epsilon=2.0"),
        (set_to("epsilon", None), "epsilon=None must be a number in [0, 1]"),
        (set_to("actions", 4), "do not fit its actions"),
        (set_to("actions", 0), ""),
        (set_to("layers", []), ""),
        (set_to("layers", 0, "kind", "convolution"), "the weight of layers[0], kind convolution, has shape"),
        (set_to("observation_space", "kind", "Graph"), "'Graph' is unknown"),
        (set_to("observation_space", "entries", 1, "n", 7), ""),
        (set_to("observation_space", "entries", 1, "n", -1), ""),
    ],
)
def test_other_descriptions_are_refused_in_one_line(saved, tmp_path, change, says):
    with pytest.raises(CheckpointError) as caught:
        SpikingQPolicy.load(tampered(saved, tmp_path / "snn.zip", change))
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"agent.json": None},
        {"agent.json": b"[]"},
        {"agent.json": b"{"},
        {"agent.json": b'{"format": "sb3-spiking converted policy, version 1"}'},
        {"layers.1.bias.npy": None},
        {"output_scale.npy": None},
        {"observation_space.0.low.npy": None},
        {"layers.1.weight.npy": b"no array"},
        {"layers.1.weight.npy": npy(np.zeros((12, 17), np.float32))},
        {"layers.1.weight.npy": npy(np.zeros(12, np.float32))},
        {"layers.1.weight.npy": npy(np.array([print], dtype=object))},
        {"layers.1.bias.npy": npy(np.zeros(11, np.float32))},
        {"layers.1.bias.npy": npy(np.array(["a"] * 12))},
        {"layers.1.bias.npy": npy(np.zeros(12, np.complex64))},
        {"layers.2.weight.npy": npy(np.zeros((4, 12), np.float32)), "layers.2.bias.npy": npy(np.zeros(4, np.float32))},
        {"layers.0.weight.npy": npy(np.zeros((16, 10), np.float32))},
        {"output_scale.npy": npy(np.ones(4, np.float32))},
        {"output_scale.npy": npy(np.ones((1, 1, 3), np.float32))},
    ],
)
def test_other_members_are_refused_in_one_line(saved, tmp_path, changes):
    with pytest.raises(CheckpointError) as caught:
        SpikingQPolicy.load(tampered(saved, tmp_path / "snn.zip", **changes))
    assert str(caught.value).isprintable()


def test_other_files_are_refused_in_one_line(saved, tmp_path):
    model = tmp_path / "dqn.zip"
    dqn().save(model)
    (tmp_path / "half.zip").write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    (tmp_path / "text.zip").write_text("text")
    for path in (model, tmp_path / "half.zip", tmp_path / "text.zip", tmp_path / "missing.zip", tmp_path):
        with pytest.raises(CheckpointError) as caught:
            SpikingQPolicy.load(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", SPACES)
def test_one_observation_or_several(kind):
    policy, _ = converted(SPACES[kind])
    batch = observations(SPACES[kind], n=4)
    together, state = policy.predict(batch, deterministic=True)
    assert (together.shape, state) == ((4,), None)
    for index in range(4):
        alone, _ = policy.predict(rows(batch, index), deterministic=True)
        assert alone.shape == ()
        assert policy.action_space.contains(alone)
        assert alone == together[index]


@pytest.mark.parametrize("kind", SPACES)
def test_the_description_ends_where_predict_does(kind):
    snn, _ = converted(SPACES[kind])
    met = observations(SPACES[kind], 20)
    description = snn.describe()
    features = description.preprocessing(preprocess_obs(snn.obs_to_tensor(met)[0], snn.observation_space))
    actions = description.action_map(snn.network(features))
    np.testing.assert_array_equal(actions.numpy(), snn.predict(met, deterministic=True)[0])


def test_random_actions_come_at_their_rate_and_repeat_under_a_seed():
    policy, _ = converted()
    policy.epsilon = 0.3
    batch = observations(n=4000)
    greedy = policy.predict(batch, deterministic=True)[0]
    policy.action_space.seed(5)
    first = policy.predict(batch)[0]
    policy.action_space.seed(5)
    assert np.array_equal(policy.predict(batch)[0], first)
    # A random action of three is the greedy one in a third of the cases: 4000 draws of 0.2, +- 5 sigma.
    assert (first != greedy).mean() == pytest.approx(0.2, abs=0.032)
    assert np.array_equal(policy.predict(batch, deterministic=True)[0], greedy)
    policy.epsilon = 1.0
    assert set(policy.predict(batch)[0]) == {0, 1, 2}


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, float("nan")])
def test_an_epsilon_is_a_probability(epsilon):
    _, teacher = converted()
    with pytest.raises(ValueError, match="epsilon"):
        DenseQPolicy(teacher.network, teacher.observation_space, teacher.action_space, epsilon=epsilon)


@pytest.mark.parametrize("coding", ["ternary", "residual"])
def test_sb3s_evaluation_takes_it(coding):
    model = DQN("MlpPolicy", "CartPole-v1", buffer_size=10, device="cpu", seed=1, policy_kwargs={"net_arch": [8]})
    policy = convert(model, env="CartPole-v1", states=100, method=coding)
    env = make_vec_env("CartPole-v1", n_envs=2, seed=3)
    returns, lengths = evaluate_policy(policy, env, n_eval_episodes=4, return_episode_rewards=True)
    assert returns == lengths
    assert len(returns) == 4


def test_the_state_is_carried_through_sb3s_evaluation(monkeypatch):
    # Two environments whose episodes end at different times: a decision depends on its own episode alone.
    policy, _ = converted(method="residual", time_steps=5, alpha=1.0)
    calls = []
    decide = policy.q_values

    def logged(observation, state=None, episode_start=None):
        values, after = decide(observation, state, episode_start)
        calls.append((observation, None if episode_start is None else episode_start.copy(), values))
        return values, after

    class Short(Random):
        def step(self, action):
            observation, reward, terminated, _, info = super().step(action)
            return observation, reward, terminated, self.steps >= self.observation_space.shape[0] - 1, info

    monkeypatch.setattr(policy, "q_values", logged)
    env = DummyVecEnv([Random, Short])
    env.seed(0)
    with pytest.warns(UserWarning, match="Monitor"):
        evaluate_policy(policy, env, n_eval_episodes=6)
    for index in range(2):
        state, changed = None, 0
        for observation, starts, values in calls:
            state = None if starts[index] else state
            expected, state = decide(observation[index : index + 1], state)
            np.testing.assert_allclose(values[index], expected[0], atol=1e-5)
            changed += np.abs(decide(observation[index : index + 1])[0] - expected).max() > 1e-3
        assert changed > 5  # the state did matter
    assert {starts.sum() for _, starts, _ in calls} == {0, 1, 2}


def test_episodes_begin_at_rest_in_the_rows_that_say_so():
    policy, _ = converted(method="residual", time_steps=5, alpha=1.0)
    batch = observations(n=6)
    first, state = policy.q_values(batch)
    before = copy.deepcopy(state)
    starts = np.array([True, False, True, False, False, True])
    second, _ = policy.q_values(batch, state, starts)
    carried, _ = policy.q_values(batch, state, np.zeros(6, bool))
    np.testing.assert_allclose(second[starts], first[starts], atol=1e-6)
    np.testing.assert_allclose(second[~starts], carried[~starts], atol=1e-6)
    assert np.abs(carried - first).max() > 1e-3
    for membrane, unchanged in zip(state, before, strict=True):
        np.testing.assert_array_equal(membrane, unchanged)


def test_only_the_residual_coding_has_a_state():
    batch = observations(n=3)
    for coding in CODINGS:
        state = converted(method=coding, time_steps=4)[0].predict(batch)[1]
        assert (state is not None) == (coding == "residual")
    assert [membrane.shape for membrane in converted(method="residual")[0].predict(batch)[1]] == [(3, 16), (3, 12)]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda policy: pickle.loads(pickle.dumps(policy))])
def test_copies_decide_the_same_and_share_nothing(copied):
    policy, _ = converted(method="residual")
    twin, batch = copied(policy), observations(n=4)
    before = policy.q_values(batch)[0]
    np.testing.assert_array_equal(twin.q_values(batch)[0], before)
    for parameter in twin.parameters():
        parameter.zero_()
    np.testing.assert_array_equal(policy.q_values(batch)[0], before)


def test_the_forward_of_sb3s_policies_chooses_the_same():
    policy, teacher = converted()
    batch = observations(n=5)
    for each in (policy, teacher):
        tensor, _ = each.obs_to_tensor(batch)
        assert each._predict(tensor, deterministic=True).tolist() == each.predict(batch, deterministic=True)[0].tolist()


OLD_AGENTS = [
    "dqn-CartPole-v1",
    *(f"others/{name}" for name in ("dqn-CartPole-v1", "dqn-Acrobot-v1", "qrdqn-Acrobot-v1")),
]


@pytest.mark.parametrize("name", OLD_AGENTS)
def test_trained_agents_decide_as_before(name):
    # Plain rate coding with 64 steps reaches 0.70 to 0.97 on those of others.
    path = zoo_agent(name)
    teacher = load_dqn(path)
    env = path.stem.split("-", 1)[1]
    calibration = calibration_states(teacher, env, 4000, seed=100)
    met = calibration_states(teacher, env, 1000, seed=0)
    actions = teacher.predict(met)[0]
    for coding, time_steps in (("ternary", None), ("few-spike", 16)):
        policy = convert(teacher, calibration, method=coding, time_steps=time_steps)
        assert (policy.predict(met)[0] == actions).mean() >= 0.99


def test_values_that_make_no_sense_are_refused_by_their_name():
    teacher = load_dqn(dqn())
    batch = observations()
    for kwargs, says in [
        ({"method": "poisson"}, "method='poisson'"),
        ({"time_steps": 0}, "time_steps=0"),
        ({"threshold": "most"}, "threshold='most'"),
        ({"alpha": 0.5}, "method='ternary' has no alpha; it takes: time_steps"),
        ({"finetune_steps": -1}, "finetune_steps=-1"),
        ({"finetune_steps": 1.5}, "finetune_steps=1.5"),
    ]:
        with pytest.raises(ValueError, match=says):
            convert(teacher, batch, **kwargs)


def test_named_methods_can_be_changed_in_part():
    policy = convert(dqn(), observations(), method="tan2021", time_steps=20, threshold="99%", initial=0.5)
    assert policy.network.coding == type(METHODS["rate"].coding)(20, initial=0.5)
    assert policy.origin == {"threshold": "99%", "per_neuron": False, "calibration_states": 64, "finetune_steps": 0}


def test_spaces_with_one_action_or_without_a_gap_are_no_trouble():
    single = convert(dqn(n_actions=1), observations())
    assert single.predict(observations())[0].tolist() == [0] * 64
    model = dqn()
    for parameter in model.q_net.q_net[-1].parameters():
        parameter.data.fill_(0.5)
    policy = convert(model, observations())
    assert policy.predict(observations(), deterministic=True)[0].tolist() == [0] * 64


def test_a_dict_space_keeps_its_order(tmp_path):
    space = spaces.Dict([("z", VECTOR), ("a", spaces.Discrete(3))])
    policy, _ = converted(space)
    policy.save(tmp_path / "snn.zip")
    loaded = SpikingQPolicy.load(tmp_path / "snn.zip")
    assert list(loaded.observation_space.spaces) == list(policy.observation_space.spaces) == ["z", "a"]
    batch = observations(space, n=4)
    np.testing.assert_array_equal(loaded.q_values(batch)[0], policy.q_values(batch)[0])


def test_double_precision_of_the_states_does_not_matter():
    policy, _ = converted(SPACES["float64"])
    batch = observations(SPACES["float64"], n=9)
    np.testing.assert_array_equal(policy.q_values(batch)[0], policy.q_values(batch.astype(np.float32))[0])
    assert policy.q_values(batch)[0].dtype == np.float32
    assert th.get_default_dtype() == th.float32


def test_a_recording_begins_where_the_decision_before_left_off():
    snn, _ = converted(method="residual", time_steps=4)
    batch = observations()
    starts = np.arange(len(batch)) % 2 == 0
    _, state = snn.predict(batch)
    rest, after, mixed = (
        snn.record(batch, *before).populations[0].spikes for before in [(), (state,), (state, starts)]
    )
    assert not th.equal(rest, after)
    hidden, *_ = snn.network._layers(snn.features(th.as_tensor(batch)), tuple(map(th.as_tensor, state)))
    assert th.equal(after, hidden.spikes)
    assert th.equal(mixed, th.where(th.as_tensor(starts)[None, :, None], rest, after))
