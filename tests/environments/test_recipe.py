"""Environments are made as SB3 would show them to the agent, and those of other agents are refused."""

import pickle
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecFrameStack

from sb3_spiking.cli.environment import in_options
from sb3_spiking.environments import make_atari_env
from sb3_spiking.environments.recipe import EnvError, EnvRecipe, check_spaces
from sb3_spiking.errors import InputError
from tests.envs import CARTPOLE, assert_equal, play

pytestmark = pytest.mark.usefixtures("images_and_dicts")


def test_environments_are_monitored_and_seeded():
    first, again, other = (EnvRecipe("CartPole-v1").make(3, seed) for seed in (7, 7, 8))
    observations = first.reset()
    np.testing.assert_array_equal(observations, again.reset())
    assert len(np.unique(observations[:, 0])) == 3
    np.testing.assert_array_equal(observations[1], other.reset()[0])
    infos = [info for _ in range(60) for info in first.step([0, 0, 0])[3]]
    assert any("episode" in info for info in infos)


def test_kwargs_reach_the_environment():
    env = EnvRecipe("FrozenLake-v1", {"map_name": "8x8"}).make(1, 0)
    check_spaces(env, spaces.Discrete(64), spaces.Discrete(4))


@pytest.mark.parametrize("env_id", ["TestImage-v0", "TestDict-v0", "CartPole-v1"])
@pytest.mark.parametrize("frame_stack", [0, 3])
def test_observations_are_those_that_sb3_shows_its_policy(env_id, frame_stack):
    plain = make_vec_env(lambda: gym.make(env_id), 1, seed=3)
    policy = "MultiInputPolicy" if env_id == "TestDict-v0" else "MlpPolicy"
    model = DQN(policy, VecFrameStack(plain, 3) if frame_stack else plain, buffer_size=1, device="cpu")
    env = EnvRecipe(env_id, frame_stack=frame_stack).make(1, 3)
    assert env.observation_space == model.observation_space
    check_spaces(env, model.observation_space, model.action_space)
    assert_equal(play(env), play(model.get_env()))


def test_images_have_their_channels_first():
    env = EnvRecipe("TestImage-v0", frame_stack=2).make(1, 0)
    assert env.observation_space.shape == (6, 36, 40)
    assert env.reset().shape == (1, 6, 36, 40)


@pytest.mark.parametrize("game", ["breakout", "space_invaders"])
def test_minatar_is_made_as_images(game):
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    env = EnvRecipe(f"minatar-{game}", {"sticky_action_prob": 0.0}).make(2, 0)
    assert env.reset().dtype == np.uint8
    assert env.observation_space.shape[1:] == (10, 10)


def test_minatar_is_no_atari():
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    pytest.importorskip("cv2", reason="OpenCV is an extra")
    with pytest.raises(EnvError, match=r"it is no game of Atari, .*; leave atari= out"):
        EnvRecipe("minatar-breakout", atari=True).make(1, 0)


def test_atari_is_what_our_own_function_makes():
    pytest.importorskip("ale_py", reason="ale-py is an extra")
    pytest.importorskip("cv2", reason="OpenCV is an extra")
    env = EnvRecipe("BreakoutNoFrameskip-v4", atari=True, frame_stack=4).make(2, 1)
    seen = play(env, 60)
    expected = play(make_atari_env("BreakoutNoFrameskip-v4", 2, 1), 60)
    # Some lives must have ended, or the frames at their end were not compared.
    assert len(seen) > 61
    assert_equal(seen, [np.moveaxis(images, -1, -3) for images in expected])


def test_an_agent_can_be_evaluated():
    model = DQN("MlpPolicy", "CartPole-v1", buffer_size=1, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # SB3 warns where no Monitor is
        evaluate_policy(model, EnvRecipe("CartPole-v1").make(2, 0), n_eval_episodes=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EnvRecipe("CartPoll-v1").make(1, 0), r"^env='CartPoll-v1' is unknown; did you mean .*CartPole-v1"),
        (
            lambda: EnvRecipe("minatar-brekout").make(1, 0),
            "minatar-brekout' is unknown; did you mean minatar-breakout",
        ),
        (lambda: EnvRecipe("Xyz-v0").make(1, 0), "env='Xyz-v0' is unknown; name its package.*env='package:id'$"),
        (lambda: EnvRecipe("no_such_package:Thing-v0").make(1, 0), "cannot be made: No module named 'no_such_package'"),
        (lambda: EnvRecipe("CartPole-v1", {"lenght": 2}).make(1, 0), "kwargs={'lenght': 2} cannot .*lenght"),
        (
            lambda: EnvRecipe("CartPole-v1", atari=True).make(1, 0),
            "^env='CartPole-v1', atari=True cannot .*leave atari= out",
        ),
        (lambda: EnvRecipe("CartPole-v1", frame_stack=-1), "frame_stack=-1 must"),
        (lambda: EnvRecipe("CartPole-v1", [1]), r"^kwargs=\[1\] must be a JSON object"),
        (lambda: EnvRecipe("CartPole-v1", {"map": {1, 2}}), "kwargs=.* must be a JSON object"),
        (lambda: EnvRecipe("FrozenLake-v1", frame_stack=2).make(1, 0), "frame_stack=2 cannot .* only works with"),
    ],
)
def test_bad_input_is_one_line(make, message):
    with pytest.raises(EnvError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_missing_statistics_are_named(tmp_path):
    with pytest.raises(
        EnvError, match=r"vec_normalize=.*gone.pkl'\) cannot be made: .*gone.pkl cannot be read: no such file"
    ):
        EnvRecipe("CartPole-v1", vec_normalize=tmp_path / "gone.pkl").make(1, 0)


@pytest.mark.parametrize(
    ("missing", "recipe"),
    [("cv2", EnvRecipe("PongNoFrameskip-v4", atari=True)), ("ale_py", EnvRecipe("ALE/NoSuchGame-v5"))],
)
def test_extras_of_atari_are_named(monkeypatch, missing, recipe):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EnvError, match=r'pip install -e "\.\[atari\]"'):
        recipe.make(1, 0)


def test_what_an_environment_lacks_is_told():
    def lacks_physics(**kwargs):
        raise gym.error.DependencyNotInstalled("Box2D is not installed,\n  pip install box2d")

    gym.register("TestLacking-v0", lacks_physics)
    with pytest.raises(EnvError, match="TestLacking-v0' cannot be made: Box2D is not installed, pip install box2d"):
        EnvRecipe("TestLacking-v0").make(1, 0)
    del gym.registry["TestLacking-v0"]


@pytest.mark.parametrize(
    ("observation_space", "action_space"),
    [
        (spaces.Box(-1, 1, (4,)), spaces.Discrete(2)),
        (spaces.Box(-np.inf, np.inf, (4,), np.float64), spaces.Discrete(2, start=0)),
    ],
)
def test_bounds_and_precision_may_differ(observation_space, action_space):
    check_spaces(EnvRecipe("CartPole-v1"), observation_space, action_space)


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
    with pytest.raises(
        EnvError, match=f"env= does not fit the agent: .*{message}.* kwargs=, atari= and frame_stack= change"
    ):
        check_spaces(EnvRecipe("CartPole-v1").make(1, 0), observation_space, action_space)


def test_a_recipe_reads_as_arguments_here_and_as_options_at_the_command_line(tmp_path):
    path = tmp_path / "v.pkl"
    recipe = EnvRecipe("ALE/Pong-v5", {"frameskip": 1}, atari=True, frame_stack=4, vec_normalize=path)
    assert str(recipe) == (
        f"env='ALE/Pong-v5', kwargs={{'frameskip': 1}}, atari=True, frame_stack=4, vec_normalize={path!r}"
    )
    assert in_options(recipe) == (
        f"--env ALE/Pong-v5 --env-kwargs '{{\"frameskip\": 1}}' --atari --frame-stack 4 --vec-normalize {path}"
    )
    assert str(EnvRecipe("CartPole-v1")) == "env='CartPole-v1'"
    assert in_options(EnvRecipe("CartPole-v1")) == "--env CartPole-v1"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: EnvRecipe("CartPoll-v1").make(1, 0), "--env CartPoll-v1 is unknown; did you mean CartPole-v1"),
        (lambda: EnvRecipe("Xyz-v0").make(1, 0), "--env Xyz-v0 is unknown; name its package with it: --env package:id"),
        (lambda: EnvRecipe("CartPole-v1", frame_stack=-1), "--frame-stack -1 must be a number of frames from 0 to 256"),
        (lambda: EnvRecipe("FrozenLake-v1", frame_stack=2).make(1, 0), "--env FrozenLake-v1 --frame-stack 2 cannot be"),
        (lambda: EnvRecipe("CartPole-v1", atari=True).make(1, 0), "; leave --atari out"),
        (
            lambda: check_spaces(EnvRecipe("CartPole-v1"), spaces.Discrete(4), spaces.Discrete(2)),
            "; --env-kwargs, --atari and --frame-stack change what it is",
        ),
    ],
)
def test_the_command_line_speaks_of_options(make, text):
    with pytest.raises(EnvError) as caught:
        make()
    assert text in in_options(caught.value)
    # Wrapped, as one line, and where an error is copied to another process.
    for error in (InputError("file: ", caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert text in in_options(error)
        assert "--" not in str(error)
