import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_spiking.policies import RunningNormExtractor


def extractor(dim=3, **kwargs):
    return RunningNormExtractor(spaces.Box(-np.inf, np.inf, (dim,)), **kwargs)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    offset=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_merged_batches_equal_the_statistics_of_all_the_data(sizes, offset, scale, seed):
    data = np.random.default_rng(seed).normal(offset, scale, (sum(sizes), 3))
    norm = extractor()
    for batch in np.split(data, np.cumsum(sizes)[:-1]):
        norm(th.as_tensor(batch).float())
    np.testing.assert_allclose(norm.running_mean, data.mean(axis=0), rtol=1e-3, atol=1e-3 * scale)
    np.testing.assert_allclose(norm.running_var, data.var(axis=0), rtol=5e-2, atol=1e-3 * scale**2)
    assert norm.running_count == len(data)


def test_z_score_by_hand():
    norm = extractor(1)
    norm(th.tensor([[1.0], [3.0]]))
    norm.eval()
    features = norm(th.tensor([[2.0], [3.0], [100.0], [-100.0]]))
    th.testing.assert_close(features, th.tensor([[0.0], [1.0], [3.0], [-3.0]]))


def test_only_training_changes_the_statistics():
    norm = extractor().eval()
    norm(th.randn(10, 3))
    assert norm.running_count == 0
    norm.train()(th.randn(10, 3))
    assert norm.running_count == 10


def test_constant_dimensions_stay_finite():
    norm = extractor(2)
    features = norm(th.tensor([[5.0, 1.0]] * 8))
    assert th.equal(features, th.zeros(8, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_training_observations_leave_the_statistics_alone(value):
    norm = extractor()
    norm(th.randn(10, 3) + 5)
    before = norm.state_dict()["running_mean"].clone()
    bad = th.randn(4, 3)
    bad[1, 2] = value
    with pytest.raises(ValueError, match="dimension 2"):
        norm(bad)
    assert th.equal(norm.running_mean, before)


def test_the_count_is_a_float_so_that_sb3s_tracking_can_multiply_it():
    assert extractor().running_count.is_floating_point()


def test_observations_of_several_axes_are_flattened():
    norm = RunningNormExtractor(spaces.Box(-1, 1, (2, 3)))
    assert norm(th.randn(5, 2, 3)).shape == (5, 6)


def test_deferred_statistics_wait_for_the_next_evaluation():
    norm, plain = extractor(deferred=True), extractor()
    batches = th.randn(2, 10, 3) * 4 + 7
    for batch in batches:
        assert th.equal(norm(batch), batch.clamp(-3, 3))
        plain(batch)
    assert norm.running_count == 0
    norm.eval()
    plain.eval()
    assert th.equal(norm(batches[0]), plain(batches[0]))
    assert norm.running_count == 20
    frozen = norm(batches[0])
    norm.train()(th.randn(10, 3))
    assert th.equal(norm.running_mean, plain.running_mean)
    copied = extractor(deferred=True).eval()
    copied.load_state_dict(norm.state_dict())
    norm.eval()
    assert th.equal(copied(batches[0]), norm(batches[0]))
    assert not th.equal(norm(batches[0]), frozen)
