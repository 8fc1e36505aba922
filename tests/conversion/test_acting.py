"""Converted networks that decide at once give what their modules give, and stand aside where they cannot."""

import copy

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.policies import BasePolicy

from sb3_spiking.conversion.acting import MAX_ROWS
from sb3_spiking.conversion.policy import QPolicy
from tests.conversion.agents import CODINGS, SPACES, converted, observations

VECTORS = ("vector", "matrix", "float64", "float16", "integers")


def directly(policy, batch):
    """Return the Q-values of the kernel, which must not stand aside."""
    values = policy._at_once(batch)
    assert values is not None
    return values


def by_modules(policy, batch):
    return QPolicy.q_values(policy, batch)[0]


@pytest.mark.parametrize("coding", [name for name in CODINGS if name != "residual"])
@pytest.mark.parametrize("kind", VECTORS)
def test_every_coding_decides_as_its_modules(coding, kind):
    policy, *_ = converted(SPACES[kind], coding)
    batch = observations(SPACES[kind], min(33, MAX_ROWS // policy.network.coding.time_steps))
    expected = by_modules(policy, batch)
    # A spike within rounding of its threshold may move by a step: single values differ, most do not.
    assert np.isclose(directly(policy, batch), expected, rtol=1e-4, atol=1e-5).mean() > 0.95
    for size in (1, 7):
        assert np.isclose(directly(policy, batch[:size]), expected[:size], rtol=1e-4, atol=1e-5).mean() > 0.9
    one, state = policy.predict(batch[0], deterministic=True)
    assert state is None
    assert one.shape == ()
    assert one == directly(policy, batch[:1]).argmax()


def test_residual_membranes_and_other_observations_take_the_way_of_the_modules():
    assert converted(SPACES["vector"], "residual")[0]._at_once(np.zeros((1, 4), np.float32)) is None
    for kind in ("image", "discrete", "dict"):
        policy = converted(SPACES[kind])[0]
        assert policy._at_once(observations(SPACES[kind], 3)) is None


def test_fractions_nan_and_wrong_shapes_are_refused_with_the_same_words():
    vectors, integers = converted(SPACES["vector"])[0], converted(SPACES["integers"])[0]
    for policy, bad in (
        (vectors, np.array([[0.0, np.nan, 0.0, 0.0]], np.float32)),
        (vectors, np.array([[0.0, 1e300, 0.0, 0.0]])),
        (vectors, np.zeros((1, 5), np.float32)),
        (integers, np.full((1, 4), 0.5)),
    ):
        with pytest.raises(ValueError) as by_predict:  # noqa: PT011 (the words are compared)
            policy.predict(bad)
        with pytest.raises(ValueError) as expected:  # noqa: PT011
            by_modules(policy, bad)
        assert str(by_predict.value) == str(expected.value)


def test_the_weights_scale_and_coding_of_this_moment_decide():
    policy, other = converted(SPACES["vector"])[0], converted(SPACES["vector"], "few-spike")[0]
    batch = observations(SPACES["vector"], 8)
    for change in (
        lambda: policy.network.layers[0].weight.data.mul_(-0.5),
        lambda: policy.network.layers[1].bias.add_(0.25),
        lambda: policy.network.output_scale.mul_(2.0),
        lambda: setattr(policy.network, "coding", other.network.coding),
        lambda: setattr(policy, "network", copy.deepcopy(other.network)),
    ):
        before = directly(policy, batch)
        with th.no_grad():
            change()
        np.testing.assert_allclose(directly(policy, batch), by_modules(policy, batch), rtol=1e-3, atol=1e-4)
        assert not np.array_equal(directly(policy, batch), before)


def test_hooks_and_replaced_methods_are_called():
    policy = converted(SPACES["vector"])[0]
    batch = observations(SPACES["vector"], 1)
    directly(policy, batch)
    seen = []
    for module in (policy.network.layers[0], policy.joined):
        handle = module.register_forward_hook(lambda *_: seen.append(1))
        policy.predict(batch)
        handle.remove()
    assert len(seen) == 2
    policy.network.layers[0].forward = lambda inputs: seen.append(1) or th.zeros(len(inputs), 16)
    policy.predict(batch)
    assert len(seen) == 3
    del policy.network.layers[0].forward
    policy.features = lambda observations: seen.append(1) or BasePolicy.extract_features
    with pytest.raises(TypeError):
        policy.predict(batch)
    assert len(seen) == 4


def test_random_actions_are_drawn_as_before():
    policy = converted(SPACES["vector"])[0]
    policy.epsilon = 0.5
    batch = observations(SPACES["vector"], 64)
    policy.action_space.seed(0)
    actions = policy.predict(batch)[0]
    policy.action_space.seed(0)
    np.testing.assert_array_equal(actions, policy.choose(by_modules(policy, batch), 0.5))
