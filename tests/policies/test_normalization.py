import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_spiking.policies import RunningNormExtractor
from sb3_spiking.policies.moments import merge, merge_batch, moments_of


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


@given(size=st.integers(1, 300), offset=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_the_kernel_merges_as_torchs_operations_do(size, offset, scale, seed):
    rng = np.random.default_rng(seed)
    batch = th.as_tensor(rng.normal(offset, scale, (size, 4)))
    means, variances = rng.normal(offset, scale, 4), rng.uniform(0.1, 1.0, 4) * scale**2
    running = [th.as_tensor(means), th.as_tensor(variances), th.tensor(50.0, dtype=th.float64)]
    in_kernel = [moment.float() for moment in running]
    merge(th.cat([th.tensor([float(size)]), *moments_of(batch)]), *running)
    assert merge_batch(batch.float(), *in_kernel)
    # float32 rounds what is given, and the result.
    rounding = 1e-6 * (abs(offset) + 6.0 * scale)
    th.testing.assert_close(in_kernel[0].double(), running[0], rtol=0.0, atol=rounding)
    th.testing.assert_close(in_kernel[1].double(), running[1], rtol=1e-4, atol=20.0 * scale * rounding)
    assert in_kernel[2] == running[2] == 50 + size


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e30])
def test_the_kernel_refuses_a_batch_before_it_changes_anything(value):
    running = [th.zeros(3), th.ones(3), th.tensor(10.0)]
    before = [moment.clone() for moment in running]
    batch = th.randn(5, 3)
    batch[4, 2] = value
    assert not merge_batch(batch, *running)
    assert all(map(th.equal, running, before))


@pytest.mark.parametrize("width", [1, 3000])
def test_batches_of_another_width_are_refused(width):
    norm = extractor(3)
    norm(th.randn(100, 3))
    with pytest.raises(RuntimeError):
        norm(th.full((50, width), 7.0))
    assert norm.running_count == 100


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


def features_of(data):
    """Return normalised features after one look at all the data."""
    norm = extractor(data.shape[1])
    norm(data)
    return norm.eval()(data)


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e-2, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("mean_in_scales", [0.0, 5.0, -1000.0])
def test_dimensions_of_any_scale_have_unit_deviation(scale, mean_in_scales):
    data = (th.randn(4096, 1, dtype=th.float64) + mean_in_scales) * scale
    assert features_of(data.float()).std().item() == pytest.approx(0.986, abs=0.02)  # clipped at 3


def test_a_deviation_of_1_around_a_million_is_normalised():
    data = th.randn(4096, 1, dtype=th.float64) + 1e6
    norm = extractor(1)
    for batch in data.float().split(256):
        norm(batch)
    features = norm.eval()(data.float())
    assert features.mean().abs() < 0.1
    assert features.std().item() == pytest.approx(0.98, abs=0.05)


@pytest.mark.parametrize("value", [0.0, 0.1, 100.1, -3e7, 1e15])
def test_constant_dimensions_are_not_noise_of_rounding(value):
    data = th.full((300, 1), value)
    norm = extractor(1)
    for batch in data.split(64):
        norm(batch)
    assert norm.eval()(data).abs().max() <= 1.0


def test_noise_of_a_simulators_rounding_stays_small():
    assert features_of(th.randn(1000, 1) * 1e-12).abs().max() < 1e-3


def test_weights_saved_before_epsilon_was_saved_act_as_they_did():
    norm = extractor(1)
    norm(th.randn(1000, 1) * 1e-4)
    old = {name: value for name, value in norm.state_dict().items() if name != "running_epsilon"}
    loaded = extractor(1)
    loaded.load_state_dict(old)
    x = th.tensor([[1e-4]])
    expected = (x - norm.running_mean) / (norm.running_var + np.finfo(np.float32).eps).sqrt()
    th.testing.assert_close(loaded.eval()(x), expected)
    saved_again = extractor(1).eval()
    saved_again.load_state_dict(loaded.state_dict())
    assert th.equal(saved_again(x), loaded(x))


@pytest.mark.parametrize("value", [1e20, 1e30])
def test_finite_observations_are_not_called_infinite(value):
    bad = th.randn(4, 3)
    bad[1, 2] = value
    with pytest.raises(ValueError, match=r"too large in dimension 2: with values up to 1e\+[23]0"):
        extractor()(bad)
    with pytest.raises(ValueError, match="too large in dimension 0, 1, 2"):
        extractor()(th.full((4, 3), value))  # constant, but no distance from it has a square


def test_who_learns_in_evaluation_mode_without_statistics_is_warned(recwarn):
    norm = extractor().eval()
    with th.no_grad():
        norm(th.randn(4, 3))
    assert not recwarn
    with pytest.warns(UserWarning, match="gathers no observation statistics"):
        norm(th.randn(4, 3))


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
