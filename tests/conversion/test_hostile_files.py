"""Converted files and settings of strangers: nothing of them is imported, opened or computed without bounds."""

import io
import json
import os
import sys

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from sb3_spiking.conversion import SpikingQPolicy, convert
from sb3_spiking.conversion.dense import check_decision
from sb3_spiking.environments.from_files import find_env
from sb3_spiking.environments.guarded import named_recipe, noted_recipe
from sb3_spiking.environments.recipe import EnvError, EnvRecipe
from sb3_spiking.reading.archive import CheckpointError
from sb3_spiking.reading.vec_normalize import NormalizationStatistics
from tests.conversion.agents import SPACES, converted, dqn, network, observations
from tests.conversion.test_converted_policy import members, npy, set_to, tampered
from tests.envs import CARTPOLE, save_statistics

NOTED = {"id": "CartPole-v1", "kwargs": {}, "atari": False, "frame_stack": 0, "vec_normalize": None}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a good file."""
    path = tmp_path_factory.mktemp("saved") / "snn.zip"
    converted(SPACES["dict"])[0].save(path)
    return path


RATE = {"name": "rate", "time_steps": 8, "reset": "soft", "initial": 0.5, "settling": 0}


@pytest.mark.parametrize(
    "change",
    [
        set_to("coding", {**RATE, "time_steps": 10**6}),
        set_to("coding", {**RATE, "time_steps": 10**30}),
        set_to("coding", {**RATE, "time_steps": 1e30}),
        set_to("coding", {**RATE, "initial": 10**400}),
        set_to("coding", {**RATE, "initial": float("nan")}),
        set_to("coding", {**RATE, "settling": [1]}),
        set_to("coding", {**RATE, "reset": {}}),
        set_to("observation_space", {"kind": "MultiBinary", "n": 10**9}),
        set_to("observation_space", {"kind": "MultiBinary", "n": [10**9, 10**9]}),
        set_to("observation_space", {"kind": "MultiBinary", "n": "9"}),
        set_to("observation_space", {"kind": "Discrete", "n": 3 * 10**8, "start": 0}),
        set_to("observation_space", {"kind": "Discrete", "n": 9, "start": 10**30}),
        set_to("observation_space", {"kind": "Discrete", "n": True, "start": 0}),
        set_to(
            "observation_space", {"kind": "Dict", "entries": [{"key": "a", "kind": "Discrete", "n": 9, "start": 0}] * 2}
        ),
        set_to("observation_space", {"kind": "Dict", "entries": []}),
        set_to("observation_space", "entries", 1, "key", "k" * 10**6),
        set_to("actions", 10**9),
        set_to("actions", True),
        set_to("normalize_images", "yes"),
        set_to("epsilon", True),
        set_to("epsilon", float("nan")),
        set_to("epsilon", float("inf")),
        set_to("layers", [{"kind": "linear"}] * 10**4),
        set_to("layers", 0, 3),
        set_to("origin", ["a"]),
    ],
)
def test_fields_out_of_their_bounds_are_refused_in_one_line(saved, tmp_path, change):
    with pytest.raises(CheckpointError) as caught:
        SpikingQPolicy.load(tampered(saved, tmp_path / "snn.zip", change))
    text = str(caught.value)
    assert text.isprintable()
    assert text.count(str(tmp_path)) == 1


@pytest.mark.parametrize(
    "place", [("coding", "name"), ("coding", "reset"), ("layers", 0, "kind"), ("observation_space", "kind")]
)
def test_no_field_names_a_class_to_import(saved, tmp_path, monkeypatch, place):
    (tmp_path / "evilmodule.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError):
        SpikingQPolicy.load(tampered(saved, tmp_path / "snn.zip", set_to(*place, "evilmodule:Thing")))
    assert "evilmodule" not in sys.modules


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([10**9, 2**62, 10**400]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "n", "name"]), inner, max_size=3)
    ),
    max_leaves=4,
)
PLACES = [
    ("coding",), ("coding", "name"), ("coding", "time_steps"), ("layers",), ("layers", 0), ("layers", 0, "kind"),
    ("observation_space",), ("observation_space", "kind"), ("observation_space", "entries"),
    ("observation_space", "entries", 0), ("observation_space", "entries", 1, "n"),
    ("observation_space", "entries", 1, "start"), ("observation_space", "entries", 0, "key"), ("actions",),
    ("normalize_images",), ("epsilon",), ("origin",), ("format",),
]  # fmt: skip


@given(st.sampled_from(PLACES), VALUES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_field(saved, tmp_path, place, value):
    path = tampered(saved, tmp_path / "snn.zip", set_to(*place, value))
    try:
        policy = SpikingQPolicy.load(path)
    except CheckpointError:
        return
    assert policy.q_values(observations(SPACES["dict"], n=2))[0].shape == (2, 3)


@pytest.mark.parametrize("order", ["fortran", "big-endian", "float64"])
def test_arrays_may_lie_in_any_way(saved, tmp_path, order):
    weight = np.lib.format.read_array(io.BytesIO(members(saved)["layers.0.weight.npy"]))
    other = {"fortran": np.asfortranarray(weight), "big-endian": weight.astype(">f4"), "float64": weight.astype("f8")}[
        order
    ]
    path = tampered(saved, tmp_path / "snn.zip", **{"layers.0.weight.npy": npy(other)})
    batch = observations(SPACES["dict"], n=3)
    np.testing.assert_array_equal(
        SpikingQPolicy.load(path).q_values(batch)[0], SpikingQPolicy.load(saved).q_values(batch)[0]
    )


# The memory and time of a decision.


def test_a_convolution_of_a_huge_image_is_refused_before_it_is_computed():
    layer = nn.Conv2d(1, 16, 2, device="meta")
    with pytest.raises(ValueError, match=r"a decision of 1 time steps would take 1e\+09 values"):
        check_decision([layer], (1, 8000, 8000))
    with pytest.raises(ValueError, match="multiply-accumulates"):
        check_decision([nn.Conv2d(1, 1, 2000, device="meta")], (1, 4000, 4000))
    assert check_decision([nn.Conv2d(4, 32, 8, 4), nn.Linear(32 * 20 * 20, 6)], (4, 84, 84), 512) == (6,)


@pytest.mark.parametrize("shape", [(4, 84), (3, 84, 84), (4, 7, 84), (4,)])
def test_layers_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match=r"layer 0 with weights \(32, 4, 8, 8\) does not fit its inputs"):
        check_decision([nn.Conv2d(4, 32, 8, 4)], shape)


def test_time_steps_are_bounded_before_states_are_collected():
    never = lambda rows: pytest.fail("states were collected")  # noqa: E731
    with pytest.raises(ValueError, match="time_steps=1000000000 must be at most"):
        convert(dqn(), env="CartPole-v1", method="rate", time_steps=10**9, progress=never)
    wide = network(4, 4096, 4096, 3)
    with pytest.raises(ValueError, match="a decision of 60000 time steps would take"):
        check_decision(wide.layers, (4,), 60_000)


# Environments.


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "antigravity:Env-v0"},
        {"id": "GymV26Environment-v0", "kwargs": {"env_id": "antigravity:Env-v0"}},
        {"id": "GymV21Environment-v0"},
        {"id": ["CartPole-v1"]},
        {"id": "x" * 10**5},
        {"kwargs": {"max_episode_steps": -1}},
        {"kwargs": {"max_episode_steps": 10**12}},
        {"kwargs": {"max_episode_steps": True}},
        {"kwargs": {"render_mode": "human"}},
        {"kwargs": {"disable_env_checker": True}},
        {"kwargs": {"no_such_argument": 1}},
        {"kwargs": {"sutton_barto_reward": "../secret"}},
        {"kwargs": {"sutton_barto_reward": {"a": 1}}},
        {"kwargs": [1]},
        {"kwargs": None},
        {"id": "minatar-breakout", "kwargs": {"game": "asterix"}},
        {"id": "minatar-breakout", "kwargs": {"use_minimal_action_set": False}},
        {"id": "FrozenLake-v1", "kwargs": {"desc": ["S" * 10**5]}},
        {"id": "FrozenLake-v1", "kwargs": {"desc": ["SFFG"] * 10**4}},
        {"id": "FrozenLake-v1", "kwargs": {"success_rate": float("nan")}},
        {"id": "Elsewhere-v0", "kwargs": {"env_id": "antigravity"}},
        {"frame_stack": 10**8},
        {"frame_stack": [4]},
        {"frame_stack": {}},
        {"frame_stack": float("inf")},
        {"frame_stack": -1},
        {"atari": "no"},
        {"vec_normalize": "/dev/zero"},
        {"vec_normalize": "/etc/passwd"},
        {"vec_normalize": "../elsewhere.pkl"},
        {"vec_normalize": 7},
    ],
)
def test_a_noted_environment_imports_and_opens_nothing(tmp_path, changes):
    (tmp_path / "elsewhere.pkl").write_bytes(b"")
    (tmp_path / "run").mkdir()
    gym.register("Elsewhere-v0", lambda **kwargs: pytest.fail("it was made"))
    try:
        with pytest.raises(ValueError, match=r"snn.zip") as caught:
            noted_recipe(tmp_path / "run" / "snn.zip", {**NOTED, **changes})
    finally:
        del gym.registry["Elsewhere-v0"]
    assert str(caught.value).isprintable()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("CartPole-v1", {"sutton_barto_reward": True, "max_episode_steps": 200}),
        ("FrozenLake-v1", {"map_name": "8x8", "is_slippery": False}),
        ("FrozenLake-v1", {"desc": ["SFFF", "FHFG"]}),
        ("Pendulum-v1", {"g": 9.81}),
        ("minatar-breakout", {"sticky_action_prob": 0.0}),
    ],
)
def test_plain_arguments_are_taken(tmp_path, env_id, kwargs):
    assert noted_recipe(tmp_path / "snn.zip", {**NOTED, "id": env_id, "kwargs": kwargs}) == EnvRecipe(env_id, kwargs)
    assert named_recipe("args.yml", env_id, kwargs) == EnvRecipe(env_id, kwargs)


def test_noted_statistics_are_taken_from_the_files_own_folder(tmp_path):
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    run.mkdir()
    path, noted = run / "snn.zip", {**NOTED, "vec_normalize": str(elsewhere / "v.pkl")}
    save_statistics(elsewhere / "v.pkl")
    with pytest.raises(ValueError, match="not in its folder; put them there, or name them with vec_normalize="):
        noted_recipe(path, noted)
    (run / "v.pkl").symlink_to(elsewhere / "v.pkl")
    with pytest.raises(ValueError, match="not in its folder"):
        noted_recipe(path, noted)
    assert noted_recipe(path, noted, elsewhere / "v.pkl").vec_normalize == elsewhere / "v.pkl"
    (run / "v.pkl").unlink()
    save_statistics(run / "v.pkl")
    assert noted_recipe(path, noted).vec_normalize == run.resolve() / "v.pkl"
    (run / "inner").mkdir()
    save_statistics(run / "inner" / "w.pkl")
    inner = {**NOTED, "vec_normalize": str(run / "inner" / "w.pkl")}
    assert noted_recipe(path, inner).vec_normalize == run / "inner" / "w.pkl"


@pytest.mark.parametrize("file", ["args.yml", "config.yml"])
@pytest.mark.parametrize("kind", ["pipe", "device", "large"])
def test_settings_that_are_no_file_are_not_waited_for(tmp_path, file, kind):
    pytest.importorskip("yaml", reason="PyYAML comes with rl_zoo3")
    (tmp_path / "args.yml").write_text("env: CartPole-v1")
    (tmp_path / "config.yml").write_text("policy: MlpPolicy")
    path = tmp_path / file
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("env: CartPole-v1\n" + "# more\n" * 10**5)
    found = find_env(tmp_path / "agent.zip", *CARTPOLE)
    assert (found is None) == (file == "args.yml" and kind != "large")  # such settings are none
    assert found is None or (found.recipe is None and file in found.text)


@pytest.mark.parametrize("change", [{"max_episode_steps": -1}, {"render_mode": "human"}, "text", [1]])
def test_settings_give_no_such_arguments(tmp_path, change):
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with rl_zoo3")
    (tmp_path / "args.yml").write_text(yaml.dump({"env": "CartPole-v1", "env_kwargs": change}))
    (tmp_path / "config.yml").write_text("policy: MlpPolicy")
    found = find_env(tmp_path / "agent.zip", *CARTPOLE)
    assert found.recipe is None
    assert "args.yml" in found.text


def test_a_path_names_no_adapter(tmp_path):
    assert find_env(tmp_path / "GymV26Environment-v0.zip", *CARTPOLE) is None


@pytest.mark.parametrize("frame_stack", [10**8, True, 2.0, "4"])
def test_frames_are_counted(frame_stack):
    with pytest.raises(EnvError, match="frame_stack="):
        EnvRecipe("CartPole-v1", frame_stack=frame_stack)


# Statistics.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clip_obs": -1.0}, "clip_obs=-1.0"),
        ({"clip_obs": 0.0}, "clip_obs"),
        ({"clip_obs": float("nan")}, "clip_obs"),
        ({"epsilon": -1e-8}, "epsilon"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"mean": np.array([0.0, np.inf])}, "mean"),
        ({"mean": np.array([0.0, np.nan])}, "mean"),
        ({"var": np.array([1.0, np.inf])}, "var"),
        ({"var": np.array([1.0, np.nan])}, "var"),
        ({"var": np.array([1.0, -1.0])}, "var"),
        ({"var": np.array([1.0, 0.0]), "epsilon": 0.0}, "var"),
        ({"mean": {"a": np.array([np.nan])}, "var": {"a": np.array([1.0])}}, "mean"),
    ],
)
def test_statistics_that_blind_an_agent_are_refused(changes, reason):
    good = {"mean": np.zeros(2), "var": np.ones(2), "epsilon": 1e-8, "clip_obs": 10.0}
    NormalizationStatistics(**{**good, "clip_obs": float("inf"), "var": np.array([1.0, 0.0])})
    with pytest.raises(ValueError, match=f"^{reason}"):
        NormalizationStatistics(**{**good, **changes})


# Observations.


@pytest.mark.parametrize("kind", ["discrete", "multidiscrete", "multibinary", "image", "integers", "booleans", "dict"])
def test_fractions_of_whole_observations_are_not_cut_off(kind):
    policy, teacher = converted(SPACES[kind])
    batch = observations(SPACES[kind], n=4)
    whole = {key: part.astype(float) for key, part in batch.items()} if isinstance(batch, dict) else batch.astype(float)
    # Integers may be decided in another order of the same sums.
    np.testing.assert_allclose(policy.q_values(whole)[0], policy.q_values(batch)[0], atol=1e-6)
    key = "b" if isinstance(batch, dict) else None
    for bad in (0.5, np.nan, np.inf):
        broken = {**whole, key: whole[key] * 0 + bad} if key else whole * 0 + bad
        for look in (policy.predict, policy.q_values, policy.cost, policy.record, policy.output_spikes):
            with pytest.raises(ValueError, match="must be whole numbers"):
                look(broken)
        with pytest.raises(ValueError, match="must be whole numbers"):
            convert(teacher, broken)


def test_notes_are_kept_as_json_knows_them(saved, tmp_path):
    path = tampered(saved, tmp_path / "snn.zip", set_to("origin", "env", NOTED))
    assert json.loads(json.dumps(SpikingQPolicy.load(path).origin["env"])) == NOTED
