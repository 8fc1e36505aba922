"""Saved statistics normalise as SB3's ``VecNormalize`` would, without running what may be in their pickle."""

import os
import pickle

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize, is_vecenv_wrapped, unwrap_vec_normalize

from sb3_spiking.environments.recipe import EnvError, EnvRecipe
from sb3_spiking.reading.vec_normalize import read_vec_normalize
from tests.envs import assert_equal, play, save_statistics

pytestmark = pytest.mark.usefixtures("images_and_dicts")


class Evil:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


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
    env = EnvRecipe(env_id, vec_normalize=path).make(2, 9)
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
    assert_equal(play(EnvRecipe("CartPole-v1", frame_stack=2, vec_normalize=path).make(2, 9)), play(env))


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
    assert not is_vecenv_wrapped(EnvRecipe("CartPole-v1", vec_normalize=path).make(1, 0), VecNormalize)


def test_statistics_of_another_environment_are_refused(tmp_path):
    path = save_statistics(tmp_path / "statistics.pkl", "Acrobot-v1")
    with pytest.raises(EnvError, match=r"the statistics have shape \(6,\), the observations \(4,\)"):
        EnvRecipe("CartPole-v1", vec_normalize=path).make(1, 0)


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
