import os
import pickle
import shutil
import sys
import warnings
from collections import OrderedDict

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    VecFrameStack,
    VecNormalize,
    is_vecenv_wrapped,
    unwrap_vec_normalize,
)

from sb3_spiking.conversion.environment import EnvError, EnvSpec, check_spaces, find_env
from sb3_spiking.conversion.reading.vec_normalize import read_vec_normalize
from sb3_spiking.environments import make_atari_env
from tests.conftest import REFERENCE

ATARI_WRAPPER = "stable_baselines3.common.atari_wrappers.AtariWrapper"
CARTPOLE = (spaces.Box(-np.inf, np.inf, (4,)), spaces.Discrete(2))
ATARI_SPACE = spaces.Box(0, 255, (4, 84, 84), np.uint8)


class ImageEnv(gym.Env):
    """Images of noise, channels last, episodes of ten steps."""

    observation_space = spaces.Box(0, 255, (36, 40, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def see(self):
        return self.np_random.integers(256, size=(36, 40, 3), dtype=np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.see(), {}

    def step(self, action):
        self.steps += 1
        return self.see(), 1.0, False, self.steps == 10, {}


class DictEnv(ImageEnv):
    """Such an image and a vector."""

    def __init__(self):
        self.observation_space = spaces.Dict({"img": ImageEnv.observation_space, "vec": spaces.Box(-9, 9, (5,))})

    def see(self):
        return {"img": super().see(), "vec": self.np_random.normal(1.0, 3.0, 5).astype(np.float32)}


@pytest.fixture(autouse=True)
def images_and_dicts():
    """Register them while a test runs."""
    gym.register("TestImage-v0", ImageEnv)
    gym.register("TestDict-v0", DictEnv)
    yield
    del gym.registry["TestImage-v0"], gym.registry["TestDict-v0"]


def play(env, steps=30):
    """Return all that an agent would see, ends of episodes too."""
    env.action_space.seed(0)
    seen = [env.reset()]
    for _ in range(steps):
        observations, _, _, infos = env.step(np.array([env.action_space.sample() for _ in range(env.num_envs)]))
        seen += [observations, *(info["terminal_observation"] for info in infos if "terminal_observation" in info)]
    return seen


def assert_equal(seen, expected):
    assert len(seen) == len(expected)
    for own, other in zip(seen, expected, strict=True):
        np.testing.assert_equal(own, other)


def save_statistics(path, env_id="CartPole-v1", n_stack=1, **kwargs):
    """Save statistics that were gathered for a while."""
    env = make_vec_env(lambda: gym.make(env_id), 2, seed=5)
    env = VecNormalize(VecFrameStack(env, n_stack) if n_stack > 1 else env, **kwargs)
    play(env)
    env.save(path)
    return path


class Evil:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def test_environments_are_monitored_and_seeded():
    first, again, other = (EnvSpec("CartPole-v1").make(3, seed) for seed in (7, 7, 8))
    observations = first.reset()
    np.testing.assert_array_equal(observations, again.reset())
    assert len(np.unique(observations[:, 0])) == 3
    np.testing.assert_array_equal(observations[1], other.reset()[0])
    infos = [info for _ in range(60) for info in first.step([0, 0, 0])[3]]
    assert any("episode" in info for info in infos)


def test_kwargs_reach_the_environment():
    env = EnvSpec("FrozenLake-v1", {"map_name": "8x8"}).make(1, 0)
    check_spaces(env, spaces.Discrete(64), spaces.Discrete(4))


@pytest.mark.parametrize("env_id", ["TestImage-v0", "TestDict-v0", "CartPole-v1"])
@pytest.mark.parametrize("frame_stack", [0, 3])
def test_observations_are_those_that_sb3_shows_its_policy(env_id, frame_stack):
    plain = make_vec_env(lambda: gym.make(env_id), 1, seed=3)
    policy = "MultiInputPolicy" if env_id == "TestDict-v0" else "MlpPolicy"
    model = DQN(policy, VecFrameStack(plain, 3) if frame_stack else plain, buffer_size=1, device="cpu")
    env = EnvSpec(env_id, frame_stack=frame_stack).make(1, 3)
    assert env.observation_space == model.observation_space
    check_spaces(env, model.observation_space, model.action_space)
    assert_equal(play(env), play(model.get_env()))


def test_images_have_their_channels_first():
    env = EnvSpec("TestImage-v0", frame_stack=2).make(1, 0)
    assert env.observation_space.shape == (6, 36, 40)
    assert env.reset().shape == (1, 6, 36, 40)


@pytest.mark.parametrize("game", ["breakout", "space_invaders"])
def test_minatar_is_made_as_images(game):
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    env = EnvSpec(f"minatar-{game}", {"sticky_action_prob": 0.0}).make(2, 0)
    assert env.reset().dtype == np.uint8
    assert env.observation_space.shape[1:] == (10, 10)


def test_atari_is_what_our_own_function_makes():
    pytest.importorskip("ale_py", reason="ale-py is an extra")
    pytest.importorskip("cv2", reason="OpenCV is an extra")
    env = EnvSpec("BreakoutNoFrameskip-v4", atari=True, frame_stack=4).make(2, 1)
    seen = play(env, 60)
    expected = play(make_atari_env("BreakoutNoFrameskip-v4", 2, 1), 60)
    # Some lives must have ended, or the frames at their end were not compared.
    assert len(seen) > 61
    assert_equal(seen, [np.moveaxis(images, -1, -3) for images in expected])


def test_an_agent_can_be_evaluated():
    model = DQN("MlpPolicy", "CartPole-v1", buffer_size=1, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # SB3 warns where no Monitor is
        evaluate_policy(model, EnvSpec("CartPole-v1").make(2, 0), n_eval_episodes=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EnvSpec("CartPoll-v1").make(1, 0), r"^--env CartPoll-v1 is unknown; did you mean .*CartPole-v1"),
        (lambda: EnvSpec("minatar-brekout").make(1, 0), "minatar-brekout cannot be made: game='brekout' .*'breakout'"),
        (lambda: EnvSpec("Xyz-v0").make(1, 0), "--env Xyz-v0 is unknown; name its package.*package:id"),
        (lambda: EnvSpec("no_such_package:Thing-v0").make(1, 0), "cannot be made: No module named 'no_such_package'"),
        (lambda: EnvSpec("CartPole-v1", {"lenght": 2}).make(1, 0), "--env-kwargs '{\"lenght\": 2}' cannot .*lenght"),
        (
            lambda: EnvSpec("CartPole-v1", atari=True).make(1, 0),
            "^--env CartPole-v1 --atari cannot .*leave --atari out",
        ),
        (lambda: EnvSpec("CartPole-v1", frame_stack=-1), "--frame-stack -1 must"),
        (lambda: EnvSpec("CartPole-v1", [1]), r"--env-kwargs \[1\] must be a JSON object"),
        (lambda: EnvSpec("CartPole-v1", {"map": {1, 2}}), "--env-kwargs .* must be a JSON object"),
        (lambda: EnvSpec("minatar-breakout", atari=True), "--atari is for Atari games; leave it out"),
        (lambda: EnvSpec("FrozenLake-v1", frame_stack=2).make(1, 0), "--frame-stack 2 cannot .* only works with"),
    ],
)
def test_bad_input_is_one_line(make, message):
    with pytest.raises(EnvError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_missing_statistics_are_named(tmp_path):
    with pytest.raises(
        EnvError, match=r"--vec-normalize .*gone.pkl cannot be made: .*gone.pkl cannot be read: No such"
    ):
        EnvSpec("CartPole-v1", vec_normalize=tmp_path / "gone.pkl").make(1, 0)


@pytest.mark.parametrize(
    ("missing", "spec"),
    [("cv2", EnvSpec("PongNoFrameskip-v4", atari=True)), ("ale_py", EnvSpec("ALE/NoSuchGame-v5"))],
)
def test_extras_of_atari_are_named(monkeypatch, missing, spec):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EnvError, match=r'pip install "sb3-spiking\[atari\]"'):
        spec.make(1, 0)


def test_what_an_environment_lacks_is_told():
    def lacks_physics(**kwargs):
        raise gym.error.DependencyNotInstalled("Box2D is not installed,\n  pip install box2d")

    gym.register("TestLacking-v0", lacks_physics)
    with pytest.raises(EnvError, match="TestLacking-v0 cannot be made: Box2D is not installed, pip install box2d"):
        EnvSpec("TestLacking-v0").make(1, 0)
    del gym.registry["TestLacking-v0"]


@pytest.mark.parametrize(
    ("observation_space", "action_space"),
    [
        (spaces.Box(-1, 1, (4,)), spaces.Discrete(2)),
        (spaces.Box(-np.inf, np.inf, (4,), np.float64), spaces.Discrete(2, start=0)),
    ],
)
def test_bounds_and_precision_may_differ(observation_space, action_space):
    check_spaces(EnvSpec("CartPole-v1"), observation_space, action_space)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Box(-1, 1, (8,)), spaces.Discrete(2), r"observes Box\(4,\) of float, the agent Box\(8,\) of float"),
        (spaces.Box(0, 255, (4,), np.uint8), spaces.Discrete(2), r"the agent Box\(4,\) of uint"),
        (spaces.Discrete(4), spaces.Discrete(2), r"the agent Discrete\(4\)"),
        (spaces.Dict({"a": CARTPOLE[0]}), spaces.Discrete(2), r"the agent Dict\(a: Box\(4,\) of float\)"),
        (CARTPOLE[0], spaces.Discrete(3), r"acts in Discrete\(2\), the agent Discrete\(3\)"),
        (CARTPOLE[0], spaces.MultiDiscrete([2, 3]), r"the agent MultiDiscrete\(\[2, 3\]\)"),
    ],
)
def test_other_spaces_are_refused(observation_space, action_space, message):
    with pytest.raises(EnvError, match=f"--env does not fit the agent: .*{message}"):
        check_spaces(EnvSpec("CartPole-v1").make(1, 0), observation_space, action_space)


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("CartPole-v1", {"clip_obs": 0.7, "epsilon": 0.1}),
        ("TestImage-v0", {}),
        ("TestDict-v0", {"norm_obs_keys": ["vec"]}),
        ("TestDict-v0", {"norm_obs_keys": ["vec", "img"]}),
    ],
)
def test_statistics_normalise_as_sb3_would(tmp_path, env_id, kwargs):
    path = save_statistics(tmp_path / "statistics.pkl", env_id, **kwargs)
    expected = VecNormalize.load(path, make_vec_env(lambda: gym.make(env_id), 2, seed=9))
    expected.training = False
    env = EnvSpec(env_id, vec_normalize=path).make(2, 9)
    before = read_vec_normalize(path)
    assert_equal(play(env), play(DQN._wrap_env(expected)))
    assert (env.step([0, 0])[1] == 1).all() or env_id != "CartPole-v1"
    np.testing.assert_equal(read_vec_normalize(path).mean, before.mean)
    normalizing = unwrap_vec_normalize(env)
    assert not normalizing.training
    assert not normalizing.norm_reward


@pytest.mark.parametrize("order", ["normalise, then stack", "stack, then normalise"])
def test_the_statistics_shape_tells_whether_frames_were_stacked_before(tmp_path, order):
    first = order.startswith("normalise")
    path = save_statistics(tmp_path / "statistics.pkl", n_stack=1 if first else 2)
    env = make_vec_env(lambda: gym.make("CartPole-v1"), 2, seed=9)
    env = VecFrameStack(VecNormalize.load(path, env), 2) if first else VecNormalize.load(path, VecFrameStack(env, 2))
    unwrap_vec_normalize(env).training = False
    assert_equal(play(EnvSpec("CartPole-v1", frame_stack=2, vec_normalize=path).make(2, 9)), play(env))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_statistics_of_every_protocol_and_numpy_are_read(tmp_path, protocol):
    env = VecNormalize(make_vec_env("CartPole-v1", 1))
    play(env)
    env.epsilon = np.float32(1e-3)  # a numpy scalar
    content = pickle.dumps(env, protocol)
    if protocol == 3:  # as of SB3 1.x, numpy 1 and gym
        content = content.replace(b"cnumpy._core.", b"cnumpy.core.").replace(b"cgymnasium.", b"cgym.")
        assert b"cgym.spaces" in content
        assert b"cnumpy.core.multiarray" in content
    path = tmp_path / "statistics.pkl"
    path.write_bytes(content)
    statistics = read_vec_normalize(path)
    np.testing.assert_array_equal(statistics.mean, env.obs_rms.mean)
    np.testing.assert_array_equal(statistics.var, env.obs_rms.var)
    assert statistics.epsilon == np.float32(1e-3)
    assert statistics.clip_obs == 10.0


def test_nothing_is_normalised_where_only_rewards_were(tmp_path):
    path = save_statistics(tmp_path / "statistics.pkl", norm_obs=False)
    assert read_vec_normalize(path) is None
    assert not is_vecenv_wrapped(EnvSpec("CartPole-v1", vec_normalize=path).make(1, 0), VecNormalize)


def test_statistics_of_another_environment_are_refused(tmp_path):
    path = save_statistics(tmp_path / "statistics.pkl", "Acrobot-v1")
    with pytest.raises(EnvError, match=r"the statistics have shape \(6,\), the observations \(4,\)"):
        EnvSpec("CartPole-v1", vec_normalize=path).make(1, 0)


@pytest.mark.parametrize("where", ["alone", "in a VecNormalize", "in an object array", "as the statistics"])
@pytest.mark.parametrize("how", [os.system, eval])
def test_a_hostile_file_executes_nothing(tmp_path, where, how):
    marker = tmp_path / "executed"
    evil = Evil(how, f"touch {marker}" if how is os.system else f"open({str(marker)!r}, 'w').close()")
    env = VecNormalize(make_vec_env("CartPole-v1", 1))
    if where == "in a VecNormalize":
        env.old_reward = evil
    elif where == "in an object array":
        env.obs_rms.mean = np.array([evil, 1, 2, 3], dtype=object)
    elif where == "as the statistics":
        env.obs_rms = evil
    path = tmp_path / "statistics.pkl"
    path.write_bytes(pickle.dumps(evil if where == "alone" else env))
    with pytest.raises(ValueError, match=r"statistics.pkl wants to import (posix.system|builtins.eval), .*executed"):
        read_vec_normalize(path)
    assert not marker.exists()
    # The test would show it.
    pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps({"obs_rms": 1}), pickle.dumps(np.ones(4)), b"\x80\x04."]
)
def test_other_files_are_no_statistics(tmp_path, content):
    path = tmp_path / "statistics.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"statistics.pkl is no file of VecNormalize: \w+"):
        read_vec_normalize(path)


def test_statistics_that_are_no_numbers_are_refused(tmp_path):
    env = VecNormalize(make_vec_env("CartPole-v1", 1))
    env.obs_rms.mean = np.array([None] * 4)
    path = tmp_path / "statistics.pkl"
    env.save(path)
    with pytest.raises(ValueError, match="no plain numbers"):
        read_vec_normalize(path)


def zoo_run(folder, env_id, args=None, config=None, name=None):
    """Write a run's settings as rl_zoo3 2.9.2 does: ordered mappings with Python's tag."""
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with rl_zoo3")
    name = name or env_id.replace("/", "-")
    settings = folder / f"{name}_1" / name
    settings.mkdir(parents=True)
    args = {"algo": "dqn", "env": env_id, "env_kwargs": None, "gym_packages": [], **(args or {})}
    config = {"n_timesteps": 5e4, "policy": "MlpPolicy", "train_freq": (1, "step"), **(config or {})}
    for file, content in {"args.yml": args, "config.yml": config}.items():
        text = yaml.dump(OrderedDict(sorted(content.items())))
        assert text.startswith("!!python/object/apply:collections.OrderedDict")
        (settings / file).write_text(text)
    return settings


@pytest.mark.parametrize("file", ["CartPole-v1.zip", "best_model.zip", "rl_model_10000_steps.zip"])
@pytest.mark.parametrize("uuid", ["", "_0b3e9c7a-1234-4c3d-9e8f-001122334455"])
def test_a_run_of_rl_zoo3_tells_its_environment(tmp_path, file, uuid):
    run = zoo_run(tmp_path, "CartPole-v1", {"env_kwargs": {"sutton_barto_reward": True}}).parent
    run = run.rename(f"{run}{uuid}")
    found = find_env(run / file, *CARTPOLE)
    assert found.spec == EnvSpec("CartPole-v1", {"sutton_barto_reward": True})
    assert found.text.endswith("args.yml names --env CartPole-v1 --env-kwargs '{\"sutton_barto_reward\": true}'")


def test_a_run_that_normalises_is_made_as_it_was(tmp_path):
    settings = zoo_run(tmp_path, "CartPole-v1", config={"normalize": True, "frame_stack": 2})
    path = save_statistics(settings / "vecnormalize.pkl")
    found = find_env(settings.parent / "best_model.zip", spaces.Box(-1, 1, (8,)), spaces.Discrete(2))
    assert found.spec == EnvSpec("CartPole-v1", frame_stack=2, vec_normalize=path)
    path.unlink()
    found = find_env(settings.parent / "best_model.zip", spaces.Box(-1, 1, (8,)), spaces.Discrete(2))
    assert found.spec is None
    assert "says normalize, but there is no vecnormalize.pkl" in found.text


def test_a_download_from_the_hub_has_its_settings_beside_the_file(tmp_path):
    settings = zoo_run(tmp_path, "CartPole-v1")
    for file in settings.iterdir():
        shutil.move(file, tmp_path)
    path = save_statistics(tmp_path / "vec_normalize.pkl")
    found = find_env(tmp_path / "dqn-CartPole-v1.zip", *CARTPOLE)
    assert found.spec == EnvSpec("CartPole-v1", vec_normalize=path)


@pytest.mark.parametrize("env_id", ["PongNoFrameskip-v4", "ALE/Pong-v5"])
def test_a_run_on_atari_is_wrapped(tmp_path, env_id):
    pytest.importorskip("ale_py", reason="ale-py is an extra")
    pytest.importorskip("cv2", reason="OpenCV is an extra")
    settings = zoo_run(tmp_path, env_id, config={"env_wrapper": [ATARI_WRAPPER], "frame_stack": 4})
    found = find_env(settings.with_suffix(".zip"), ATARI_SPACE, spaces.Discrete(6))
    assert found.spec == EnvSpec(env_id, atari=True, frame_stack=4)
    # The name alone tells as much, to those who know what 84 x 84 means.
    shutil.rmtree(settings)
    again = find_env(settings.with_suffix(".zip"), ATARI_SPACE, spaces.Discrete(6))
    assert again.spec == found.spec
    assert again.text.endswith(f"names --env {env_id} --atari --frame-stack 4")


@pytest.mark.parametrize("wrapper", ["my_wrappers.Shrink", {ATARI_WRAPPER: {"frame_skip": 1}}])
def test_a_wrapper_that_cannot_be_had_is_not_left_out(tmp_path, wrapper):
    settings = zoo_run(tmp_path, "CartPole-v1", config={"env_wrapper": [wrapper]})
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.spec is None
    assert "config.yml wraps the environment in" in found.text


@pytest.mark.parametrize("tag", ["apply:os.system", "new:os.system", "name:os.system", "module:antigravity"])
@pytest.mark.parametrize("where", ["env", "env_kwargs", "something else", "alone"])
def test_hostile_settings_execute_nothing(tmp_path, tag, where):
    settings = zoo_run(tmp_path, "CartPole-v1")
    marker = tmp_path / "executed"
    tag = tag if tag.startswith(("name", "module")) else f"object/{tag}"
    value = "''" if tag.startswith(("name", "module")) else f"['touch {marker}']"
    entries = {"env": "CartPole-v1", where: f"!!python/{tag} {value}"}
    text = entries["alone"] if where == "alone" else "\n".join(f"{key}: {entry}" for key, entry in entries.items())
    (settings / "args.yml").write_text(text)
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert (found.spec is None) == (where != "something else")
    assert "\n" not in found.text
    assert not marker.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("env_id", "env_kwargs"), [("antigravity:Env-v0", {}), ("GymV21Environment-v0", {"env_id": "antigravity:Env-v0"})]
)
def test_settings_name_no_package_to_import(tmp_path, env_id, env_kwargs):
    settings = zoo_run(tmp_path, env_id, {"env_kwargs": env_kwargs}, name="Env-v0")
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.spec is None
    assert f"{env_id!r}, not used; pass --env" in found.text
    assert "antigravity" not in sys.modules


def test_settings_do_not_write_to_the_terminal(tmp_path):
    settings = zoo_run(tmp_path, "Cart\x1b[2JPole\n-v1", name="Env-v0")
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.spec is None
    assert found.text.isprintable()


@pytest.mark.parametrize("text", ["a: [", "just text", "!unknown 1", "\x00", "a: &a [1]\nb: [*a, *a]"])
def test_broken_settings_are_named(tmp_path, text):
    settings = zoo_run(tmp_path, "CartPole-v1")
    (settings / "config.yml").write_text(text)
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.spec is None
    assert "config.yml" in found.text


def test_settings_without_yaml_are_not_passed_over(tmp_path, monkeypatch):
    settings = zoo_run(tmp_path, "CartPole-v1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = find_env(settings.parent / "best_model.zip", *CARTPOLE)
    assert found.spec is None
    assert "pip install pyyaml" in found.text


@pytest.mark.parametrize(
    ("path", "env_id"),
    [
        ("dqn-CartPole-v1.zip", "CartPole-v1"),
        ("logs/dqn/CartPole-v1_3/best_model.zip", "CartPole-v1"),
        ("dqn_CartPole-v1_lr1e-3.zip", "CartPole-v1"),
        ("CartPole-v1/final.zip", "CartPole-v1"),
        ("Acrobot-v1/dqn-CartPole-v1.zip", "CartPole-v1"),
        ("CartPole-v1/dqn-Acrobot-v1.zip", "CartPole-v1"),
    ],
)
def test_a_path_names_its_environment(tmp_path, path, env_id):
    found = find_env(tmp_path / path, *CARTPOLE)
    assert found.spec == EnvSpec(env_id)
    assert found.text.endswith(f" names --env {env_id}")


@pytest.mark.parametrize(
    "path", ["MyCartPole-v12.zip", "MyCartPole-v1.zip", "dqn.zip", "CartPole-v1x.zip", "model-v1.zip"]
)
def test_parts_of_words_name_nothing(tmp_path, path):
    assert find_env(tmp_path / path, *CARTPOLE) is None


def test_the_longest_id_counts(tmp_path):
    found = find_env(tmp_path / "FrozenLake-v1-FrozenLake8x8-v1.zip", spaces.Discrete(64), spaces.Discrete(4))
    assert found.spec == EnvSpec("FrozenLake8x8-v1")


def test_minatar_is_found(tmp_path):
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    images = spaces.Box(0, 255, (4, 10, 10), np.uint8)
    found = find_env(tmp_path / "dqn-minatar-breakout.zip", images, spaces.Discrete(3))
    assert found.spec == EnvSpec("minatar-breakout")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "dqn-Acrobot-v1.zip",
            r"--env does not fit the agent: it observes Box(6,) of float, the agent Box(4,) of float",
        ),
        ("dqn-CartPole-v2.zip", "--env CartPole-v2 is unknown; did you mean CartPole-v1"),
        ("dqn-LunarLander-v2.zip", "Please use `LunarLander-v3` instead"),
    ],
)
def test_what_does_not_fit_is_told_and_not_used(tmp_path, name, why):
    found = find_env(tmp_path / name, *CARTPOLE)
    assert found.spec is None
    assert found.text.startswith(f"{name} names --env {name[4:-4]}, not used: ")
    assert why in found.text


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Acrobot-v1"])
def test_reference_agents_find_their_environment(env_id):
    path = REFERENCE / "zoo-dqn" / f"dqn-{env_id}.zip"
    if not path.exists():
        pytest.skip(f"the reference agent is not here: {path}")
    env = gym.make(env_id)
    assert find_env(path, env.observation_space, env.action_space).spec == EnvSpec(env_id)


def test_a_spec_reads_as_the_options_that_say_so(tmp_path):
    spec = EnvSpec("ALE/Pong-v5", {"frameskip": 1}, atari=True, frame_stack=4, vec_normalize=tmp_path / "v.pkl")
    assert str(spec) == (
        "--env ALE/Pong-v5 --env-kwargs '{\"frameskip\": 1}' --atari --frame-stack 4 "
        f"--vec-normalize {tmp_path / 'v.pkl'}"
    )
    assert str(EnvSpec("CartPole-v1")) == "--env CartPole-v1"
