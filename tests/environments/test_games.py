import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from stable_baselines3 import DQN
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

import sb3_spiking
from sb3_spiking.environments import MINATAR_GAMES, GridToImage
from sb3_spiking.environments.games import frames_per_action
from sb3_spiking.zoo import FILES


class GridEnv(gym.Env):
    """A grid with one cell set."""

    observation_space = spaces.Box(0, 1, (10, 10, 4), bool)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        grid = np.zeros((10, 10, 4), bool)
        grid[2, 7, 3] = True
        return grid, {}

    def step(self, action):
        return self.reset()[0], 1.0, True, False, {}


def test_a_grid_becomes_an_image_that_sb3_recognises():
    env = GridToImage(GridEnv())
    assert is_image_space(env.observation_space)
    assert is_image_space_channels_first(env.observation_space)
    image, _ = env.reset()
    assert image in env.observation_space
    assert image[3, 2, 7] == 255
    assert image.sum() == 255
    assert env.step(0)[0] in env.observation_space


def test_the_network_sees_zeros_and_ones():
    model = DQN("SpikingCnnPolicy", GridToImage(GridEnv()), buffer_size=10, device="cpu")
    features = model.policy.spiking_features(model.policy.obs_to_tensor(model.env.reset())[0])
    assert sorted(features.unique().tolist()) == [0.0, 1.0]
    assert features.sum() == 1.0


@pytest.mark.parametrize(
    "space", [spaces.Box(0, 1, (10, 10), bool), spaces.Box(0, 255, (4, 10, 10), np.uint8), spaces.Discrete(3)]
)
def test_other_observations_are_refused(space):
    env = GridEnv()
    env.observation_space = space
    with pytest.raises(ValueError, match="GridToImage takes boolean grids"):
        GridToImage(env)


@pytest.mark.parametrize("game", MINATAR_GAMES)
def test_minatar_games(game):
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    env = sb3_spiking.make_minatar_env(game, n_envs=2, seed=0)
    observations = env.reset()
    assert observations.shape == (2, *env.observation_space.shape)
    assert is_image_space_channels_first(env.observation_space)
    assert set(np.unique(observations)) == {0, 255}
    model = DQN("SpikingCnnPolicy", env, learning_starts=20, batch_size=8, buffer_size=100, device="cpu").learn(40)
    recording = model.policy.spiking_network.record(
        model.policy.spiking_features(model.policy.obs_to_tensor(observations)[0])
    )
    assert all(0.1 < population.spikes.mean() < 0.6 for population in recording.populations)


def test_minatar_is_seeded():
    pytest.importorskip("minatar", reason="MinAtar is an extra")

    def play():
        env = sb3_spiking.make_minatar_env("asterix", seed=3, sticky_action_prob=0.0)
        env.reset()
        return np.stack([env.step([0])[0][0] for _ in range(30)])

    np.testing.assert_array_equal(play(), play())


def test_recipes_of_rl_zoo3_name_the_wrapper_where_it_is():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with rl_zoo3")
    settings = [task for path in FILES.values() for task in yaml.safe_load(path.read_text()).values()]
    named = {task["env_wrapper"] for task in settings if "env_wrapper" in task}
    assert [load_env_creator(name[::-1].replace(".", ":", 1)[::-1]) for name in named] == [GridToImage]


def test_sb3_makes_a_game_by_its_id():
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    model = DQN("SpikingCnnPolicy", "minatar-breakout", buffer_size=10, device="cpu")
    assert model.observation_space == sb3_spiking.make_minatar_env("breakout").observation_space


def test_a_game_has_an_id_of_gymnasium():
    minatar = pytest.importorskip("minatar.gym", reason="MinAtar is an extra")
    env = gym.make("minatar-space_invaders", sticky_action_prob=0.0)
    raw = minatar.BaseEnv("space_invaders", use_minimal_action_set=True, sticky_action_prob=0.0)
    assert env.action_space == raw.action_space
    for either in (env, raw, again := gym.make(env.spec)):
        either.reset(seed=4)
    for action in (2, 3, 1) * 20:
        seen, reward, over, cut, _ = env.step(action)
        grid, *rest = raw.step(action)
        np.testing.assert_array_equal(seen, 255 * grid.transpose(2, 0, 1))
        np.testing.assert_array_equal(seen, again.step(action)[0])
        assert [reward, over, cut] == rest[:3]
        if over:
            break


def test_unknown_game_is_named():
    with pytest.raises(ValueError, match=r"game='pong'.*'breakout'"):
        sb3_spiking.make_minatar_env("pong")


@pytest.mark.parametrize(
    ("env_id", "env_kwargs", "wrapper_kwargs", "frames"),
    [
        ("ALE/Pong-v5", None, None, 16),
        ("ALE/Pong-v5", {"frameskip": 1, "repeat_action_probability": 0.0}, None, 4),
        ("ALE/Pong-v5", None, {"frame_skip": 1}, 4),
        ("PongNoFrameskip-v4", None, None, 4),
        ("Pong-v4", None, None, 20),
    ],
)
def test_double_frame_skip_is_counted(env_id, env_kwargs, wrapper_kwargs, frames):
    pytest.importorskip("ale_py", reason="ale-py is an extra")
    assert frames_per_action(env_id, env_kwargs, wrapper_kwargs) == frames


def test_double_frame_skip_is_warned_about():
    pytest.importorskip("ale_py", reason="ale-py is an extra")
    pytest.importorskip("cv2", reason="OpenCV is an extra")
    with pytest.warns(UserWarning, match="16 frames pass for each action in ALE/Pong-v5.*NoFrameskip-v4"):
        sb3_spiking.make_atari_env("ALE/Pong-v5").close()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("game", ["Breakout", "SpaceInvaders"])
def test_every_layer_fires_on_real_atari_frames_at_initialisation(game, seed):
    pytest.importorskip("ale_py", reason="ale-py is an extra")
    pytest.importorskip("cv2", reason="OpenCV is an extra")
    env = sb3_spiking.make_atari_env(f"{game}NoFrameskip-v4", seed=seed)
    th.manual_seed(seed)
    policy = DQN("SpikingCnnPolicy", env, buffer_size=1, device="cpu").policy
    env.reset()
    env.action_space.seed(seed)
    frames = np.concatenate([env.step([env.action_space.sample()])[0] for _ in range(32)])
    observations, _ = policy.obs_to_tensor(frames.transpose(0, 3, 1, 2))
    recording = policy.spiking_network.record(policy.spiking_features(observations))
    assert [population.name for population in recording.populations] == ["conv0", "conv1", "conv2", "hidden0"]
    for population in recording.populations:
        assert 0.1 < population.spikes.mean() < 0.5, population.name
        inside = (population.margin.abs() < population.surrogate_window).float().mean()
        assert inside > 0.1, population.name
