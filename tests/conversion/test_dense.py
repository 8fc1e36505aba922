import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.dqn.policies import QNetwork
from torch import nn

import sb3_spiking  # noqa: F401 (registers the spiking policies)
from sb3_spiking.conversion import convert, load_dqn
from tests.conftest import TargetEnv
from tests.conversion.agents import IMAGE, SPACES, VECTOR, Random, dqn, observations, q_values, rows

NORMALIZED = spaces.Box(-1.0, 1.0, (2, 36, 40), np.float32)


class Doubled(FlattenExtractor):
    def forward(self, observations):
        return 2.0 * super().forward(observations)


class ReLU(nn.Module):
    def forward(self, x):
        return x.tanh()


class Frames(Random):
    """Images with their channels last, which SB3 turns around."""

    def __init__(self):
        super().__init__(spaces.Box(0, 255, (36, 36, 3), np.uint8))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_q_values_equal_those_of_sb3(space):
    model, batch = dqn(space), observations(space)
    policy = load_dqn(model)
    np.testing.assert_allclose(policy.q_values(batch)[0], q_values(model, batch), atol=1e-6)
    np.testing.assert_array_equal(policy.predict(batch)[0], model.predict(batch, deterministic=True)[0])


@pytest.mark.parametrize("net_arch", [[8], [16, 12, 8], [1]])
def test_q_values_equal_those_of_sb3_at_any_depth(net_arch):
    model = dqn(net_arch=net_arch)
    policy = load_dqn(model)
    assert [layer.out_features for layer in policy.network.layers] == [*net_arch, 3]
    np.testing.assert_allclose(policy.q_values(observations())[0], q_values(model, observations()), atol=1e-6)


@pytest.mark.parametrize(
    ("space", "policy", "kwargs"),
    [
        (IMAGE, "CnnPolicy", {"net_arch": []}),
        (IMAGE, "CnnPolicy", {"net_arch": [], "features_extractor_kwargs": {"features_dim": 20}}),
        (IMAGE, "CnnPolicy", {"normalize_images": False}),
        (IMAGE, "MlpPolicy", {}),
        (IMAGE, "MlpPolicy", {"normalize_images": False}),
        (NORMALIZED, "CnnPolicy", {"normalize_images": False}),
        (spaces.Dict({"camera": IMAGE}), "MultiInputPolicy", {"normalize_images": False}),
    ],
)
def test_images_are_scaled_as_sb3_scales_them(space, policy, kwargs):
    model, batch = dqn(space, policy=policy, **kwargs), observations(space, n=8)
    np.testing.assert_allclose(load_dqn(model).q_values(batch)[0], q_values(model, batch), rtol=1e-5, atol=1e-6)


def test_an_agent_in_an_atari_frame():
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    model, batch = dqn(space, policy="CnnPolicy", net_arch=[]), observations(space, n=2)
    np.testing.assert_allclose(load_dqn(model).q_values(batch)[0], q_values(model, batch), atol=1e-6)


def test_images_may_come_with_their_channels_last():
    model = dqn(policy="CnnPolicy", env=Frames())
    batch = observations(Frames().observation_space, n=4)
    assert model.observation_space.shape == (3, 36, 36)
    policy = load_dqn(model)
    np.testing.assert_array_equal(policy.q_values(batch)[0], policy.q_values(batch.transpose(0, 3, 1, 2))[0])
    np.testing.assert_array_equal(policy.predict(batch[0])[0], model.predict(batch[0], deterministic=True)[0])


def test_entries_of_a_dict_may_come_in_any_order():
    # They are joined, and another order would be another observation.
    space = SPACES["dict"]
    policy, batch = load_dqn(dqn(space)), observations(space)
    turned = dict(reversed(batch.items()))
    np.testing.assert_array_equal(policy.q_values(turned)[0], policy.q_values(batch)[0])


def test_quantiles_are_averaged_exactly():
    contrib = pytest.importorskip("sb3_contrib")
    for space in (VECTOR, IMAGE):
        model, batch = dqn(space, contrib.QRDQN, n_quantiles=7), observations(space)
        with th.no_grad():
            mean = model.quantile_net(model.policy.obs_to_tensor(batch)[0]).mean(dim=1)
        policy = load_dqn(model)
        np.testing.assert_allclose(policy.q_values(batch)[0], mean, atol=1e-6)
        np.testing.assert_array_equal(policy.predict(batch)[0], model.predict(batch, deterministic=True)[0])


@pytest.mark.parametrize("space", [VECTOR, IMAGE, SPACES["dict"], SPACES["booleans"]])
def test_a_file_gives_the_same_network_as_the_model(space, tmp_path):
    model, batch = dqn(space), observations(space, n=8)
    model.save(tmp_path / "dqn.zip")
    np.testing.assert_array_equal(load_dqn(tmp_path / "dqn.zip").q_values(batch)[0], load_dqn(model).q_values(batch)[0])


def test_the_network_is_a_copy():
    model = dqn()
    policy = load_dqn(model)
    before = policy.q_values(observations())[0]
    for parameter in model.policy.parameters():
        parameter.data.zero_()
    np.testing.assert_array_equal(policy.q_values(observations())[0], before)
    assert not any(parameter.requires_grad for parameter in policy.parameters())


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.Tanh, "activation_fn=Tanh"),
        (nn.LeakyReLU, "activation_fn=LeakyReLU"),
        (ReLU, "activation_fn=ReLU .not torch"),
    ],
)
def test_other_activations_are_refused_by_name(activation, name):
    with pytest.raises(ValueError, match=name):
        load_dqn(dqn(activation_fn=activation))


def test_an_image_beside_a_vector_is_refused_with_the_reason():
    model = dqn(spaces.Dict({"camera": IMAGE, "joints": VECTOR}))
    with pytest.raises(ValueError, match="branches join behind the convolutions"):
        load_dqn(model)


def test_a_network_without_hidden_layers_is_refused():
    with pytest.raises(ValueError, match="no hidden layer"):
        load_dqn(dqn(net_arch=[]))


def test_an_extractor_of_ones_own_is_refused():
    # It has no weights that would be missed: the Q-values would be those of other observations.
    with pytest.raises(ValueError, match="features_extractor_class=Doubled"):
        load_dqn(dqn(features_extractor_class=Doubled))


def test_an_agent_that_diverged_is_refused():
    # Thresholds that are NaN would count as silent, and the network would look sound.
    model = dqn()
    model.q_net.q_net[0].weight.data[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"weight 'q_net\.0\.weight' is not finite"):
        load_dqn(model)


@pytest.mark.parametrize(
    "model",
    [
        lambda: DQN("SpikingMlpPolicy", Random(), buffer_size=10, device="cpu", policy_kwargs={"net_arch": [8]}),
        lambda: PPO("MlpPolicy", Random(), device="cpu"),
        lambda: SAC("MlpPolicy", TargetEnv(), buffer_size=10, device="cpu"),
    ],
    ids=["spiking", "PPO", "SAC"],
)
def test_other_agents_are_refused(model):
    with pytest.raises(ValueError, match="must be a DQN or QRDQN with one of SB3's own policies"):
        load_dqn(model())


def test_a_network_of_ones_own_is_refused(monkeypatch):
    class OwnNetwork(QNetwork):
        pass

    model = dqn()
    model.policy.q_net.__class__ = OwnNetwork
    with pytest.raises(ValueError, match="own policies"):
        load_dqn(model)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((0, 4), np.float32),
        np.zeros(4, np.float32),
        np.zeros((2, 5), np.float32),
        np.full((2, 4), np.nan, np.float32),
        np.full((2, 4), 1e300),
        {"a": np.zeros((2, 4), np.float32)},
    ],
    ids=["none", "not a batch", "another shape", "NaN", "infinite as float32", "a dict"],
)
def test_states_that_are_not_the_agents_are_refused(batch):
    with pytest.raises(ValueError, match="observations"):
        convert(dqn(), batch)


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("dict", {"a": np.zeros((2, 2, 2), np.float32)}),
        ("dict", np.zeros((2, 4), np.float32)),
        ("discrete", np.array([1, 5])),
        ("image", np.zeros((2, 4, 36, 36), np.uint8)),
    ],
)
def test_states_of_other_kinds_are_refused_too(name, batch):
    with pytest.raises(ValueError, match="observations do not fit"):
        convert(dqn(SPACES[name]), batch)


def test_there_must_be_states_or_an_environment():
    with pytest.raises(ValueError, match="pass an environment or states"):
        convert(dqn())


def test_an_environment_serves_to_calibrate():
    model = DQN("MlpPolicy", gym.make("CartPole-v1"), buffer_size=10, policy_kwargs={"net_arch": [8]}, device="cpu")
    first, second = (convert(model, env="CartPole-v1", states=60, seed=seed) for seed in (0, 0))
    assert first.origin["calibration_states"] == 60
    assert all(th.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_rows_of_a_batch_are_decided_alone():
    space = SPACES["dict"]
    policy, batch = load_dqn(dqn(space)), observations(space, n=5)
    each = [policy.q_values(rows(batch, slice(i, i + 1)))[0][0] for i in range(5)]
    np.testing.assert_allclose(policy.q_values(batch)[0], each, atol=1e-6)
