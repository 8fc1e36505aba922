"""``fit_normalization``: statistics from a data set."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, SAC, TD3

from sb3_spiking.policies import RunningNormExtractor
from tests.envs import AnyEnv
from tests.policies.cells import CELLS, DICT, IMAGE, VECTOR, Cell

NORMALISING = [cell for cell in CELLS if cell.observation_space is not IMAGE]


def vectors(n=500, dtype=np.float64):
    return np.random.default_rng(0).normal([5.0, 1e6, 0.0], [2.0, 1.0, 1e-5], (n, 3)).astype(dtype)


@pytest.mark.parametrize("cell", NORMALISING, ids=str)
def test_actor_critic_and_targets_have_the_statistics_of_the_data(cell):
    policy = cell.model().policy
    observations = {"joints": vectors()} if cell.observation_space is DICT else vectors()
    policy.fit_normalization(observations)
    extractors = [module for module in policy.modules() if isinstance(module, RunningNormExtractor)]
    assert extractors
    for norm in extractors:
        np.testing.assert_allclose(norm.running_mean, vectors().mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(norm.running_var, vectors().var(axis=0), rtol=1e-5)
        assert norm.running_count == 500


@pytest.mark.parametrize("convert", [np.asarray, th.as_tensor, list, lambda x: x.reshape(50, 10, 3)])
def test_features_have_unit_deviation_at_once(convert):
    policy = Cell(PPO, "PopSANPolicy").model().policy
    policy.fit_normalization(convert(vectors()))
    for mode in (True, False):
        policy.set_training_mode(mode)
        features = policy.spiking_features(th.as_tensor(vectors()))
        assert features.mean(dim=0).abs().max() < 0.05
        assert (features.std(dim=0) - 0.98).abs().max() < 0.05


def test_fitted_statistics_are_saved(tmp_path):
    model = Cell(PPO, "PopSANPolicy").model()
    model.policy.fit_normalization(vectors())
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", device="cpu")
    expected, _ = model.predict(vectors(), deterministic=True)
    np.testing.assert_array_equal(loaded.predict(vectors(), deterministic=True)[0], expected)


def nan(values):
    values[3, 1] = np.nan
    return values


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (vectors()[0], r"shape \(3,\); it must be a batch"),
        (vectors()[:, :2], r"shape \(500, 2\); it must be a batch"),
        (vectors()[:1], "1 observations; a deviation needs at least 2"),
        (nan(vectors()), "NaN or infinity .* in dimension 1"),
        (vectors() * 1e300, "NaN or infinity .*in float32.* in dimension 0, 1"),
        (vectors() * 1e20, "too large in dimension 0"),
        (["a", "b"], "must be numbers"),
        ({"x": vectors()}, "must be numbers"),
        (None, "shape|numbers"),
    ],
)
def test_observations_that_do_not_fit_are_refused_and_nothing_changes(observations, message):
    policy = Cell(SAC, "PopSANPolicy").model().policy
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        policy.fit_normalization(observations)
    assert all(th.equal(value, before[name]) for name, value in policy.state_dict().items())


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (vectors(), "must be a dict with a batch for each entry"),
        ({"camera": np.zeros((4, *IMAGE.shape))}, r"missing \['joints'\]"),
        ({"joints": vectors(), "joint": vectors()}, r"unknown \['joint'\]"),
        ({"joints": vectors()[:, :1]}, r"observations\['joints'\] has shape"),
    ],
)
def test_dicts_that_do_not_fit_are_refused(observations, message):
    with pytest.raises(ValueError, match=message):
        Cell(SAC, "SpikingMultiInputPolicy").model().policy.fit_normalization(observations)


@pytest.mark.parametrize(
    ("policy", "space", "policy_kwargs"),
    [
        ("PopSANPolicy", VECTOR, {"normalize_observations": False}),
        ("SpikingMlpPolicy", spaces.Discrete(3), {}),
        ("SpikingCnnPolicy", IMAGE, {}),
    ],
)
def test_policies_that_normalise_nothing_say_so(policy, space, policy_kwargs):
    model = Cell(PPO, policy).model(AnyEnv(space, spaces.Discrete(2)), policy_kwargs=policy_kwargs)
    with pytest.raises(ValueError, match="normalises no observations"):
        model.policy.fit_normalization(np.zeros((4, 3)))


def test_fitting_to_observations_that_a_wrapper_normalised_is_warned_about():
    with pytest.warns(UserWarning, match="mean 0 and variance 1 already"):
        Cell(TD3, "PopSANPolicy").model().policy.fit_normalization(np.random.default_rng(0).normal(size=(500, 3)))
