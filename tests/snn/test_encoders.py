import math

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import encoding, functional

from sb3_spiking.snn import (
    AnalogEncoder,
    DeterministicEncoder,
    PoissonEncoder,
    RoundedEncoder,
    SpikingNetwork,
    SpikingOptions,
    encoders,
)


def test_activity_by_hand():
    encoder = DeterministicEncoder(1, population=3, mean_range=(-3.0, 3.0), std=0.5)
    # Means at -3, 0 and 3, one width away from the middle one.
    expected = [math.exp(-0.5 * 7**2), math.exp(-0.5), math.exp(-0.5 * 5**2)]
    th.testing.assert_close(encoder.activity(th.tensor([[0.5]])).flatten(), th.tensor(expected))


def test_soft_reset_by_hand():
    # v: 0.4, 0.8, 1.2 -> 0.201, 0.601, 1.001 -> 0.002
    spikes = encoders._regular_spikes(th.tensor([[0.4, 1.0, 0.0, 0.999]]), 5)
    assert spikes[:, 0, 0].tolist() == [0, 0, 1, 0, 1]
    assert spikes[:, 0, 1].tolist() == [1, 1, 1, 1, 1]
    assert spikes[:, 0, 2].tolist() == [0, 0, 0, 0, 0]
    assert spikes[0, 0, 3] == 1


@pytest.mark.parametrize("initial", [0.0, 0.4995])
def test_kernel_equals_the_loop_that_other_devices_run(initial, monkeypatch):
    activity = th.rand(64, 37)
    fused = encoders._regular_spikes(activity, 9, initial)
    monkeypatch.setattr(encoders, "unsupported", lambda _: "a test")
    assert th.equal(fused, encoders._regular_spikes(activity, 9, initial))


def test_rounded_spikes_by_hand():
    # v: 0.4995 + 0.4 = 0.8995, 1.2995 -> 0.3005, 0.7005, 1.1005 -> 0.1015, 0.5015: 2 spikes, where 5 x 0.4 = 2
    spikes = RoundedEncoder(1, population=1, time_steps=5).encode(th.tensor([[0.4, 0.05, 0.15]])).tensor()
    assert spikes[:, 0, 0].tolist() == [0, 1, 0, 1, 0]
    assert spikes[:, 0, 1].sum() == 0  # 5 x 0.05 = 0.25
    assert spikes[:, 0, 2].sum() == 1  # 5 x 0.15 = 0.75


@pytest.mark.parametrize("time_steps", [1, 2, 3, 8])
def test_the_number_of_rounded_spikes_is_nearest_to_the_activity(time_steps):
    activity = th.rand(50, 20, generator=th.Generator().manual_seed(0))
    counts = {
        cls: cls(2, time_steps=time_steps).encode(activity).tensor().sum(dim=0) / time_steps
        for cls in (DeterministicEncoder, RoundedEncoder)
    }
    half = 0.5 / time_steps + 1e-3  # the threshold is 0.999
    assert ((counts[RoundedEncoder] - activity).abs() <= half).all()
    assert (counts[DeterministicEncoder] - activity).abs().max() > 1.8 * half


def test_the_start_is_a_constant_of_the_class():
    network = SpikingNetwork(3, 2, (16,), SpikingOptions(encoder="rounded"))
    network.encoder.initial = 0.0
    observations = th.randn(10, 3)
    with th.no_grad():
        th.testing.assert_close(network(observations), network._decode(observations))


def test_one_step_of_rounded_spikes_fires_where_the_other_encoder_is_silent():
    activity = th.full((1, 20), 0.9)
    assert DeterministicEncoder(2, time_steps=1).encode(activity).tensor().sum() == 0
    assert RoundedEncoder(2, time_steps=1).encode(activity).tensor().sum() == 20


def test_spikes_equal_spikingjellys_population_encoder():
    ours = DeterministicEncoder(4, population=10, time_steps=7)
    theirs = encoding.PopSpikeEncoderDeterministic(4, 10, 7, (-3.0, 3.0), math.sqrt(0.15))
    observations = 2 * th.randn(50, 4)
    with th.no_grad():
        assert th.equal(ours(observations).tensor(), theirs(observations))
    functional.reset_net(theirs)


def test_gradient_of_every_spike_is_one():
    encoder = DeterministicEncoder(2, time_steps=5)
    activity = th.rand(3, encoder.features, requires_grad=True)
    weights = th.randn(5, 3, encoder.features)
    (encoder.encode(activity).tensor() * weights).sum().backward()
    th.testing.assert_close(activity.grad, weights.sum(dim=0))


def test_means_and_widths_are_trained():
    for cls in (DeterministicEncoder, RoundedEncoder, PoissonEncoder, AnalogEncoder):
        encoder = cls(3)
        encoder(th.randn(4, 3)).tensor().sum().backward()
        assert (encoder.mean.grad != 0).any()
        assert (encoder.std.grad != 0).any()


def test_poisson_rates_are_the_activities():
    encoder = PoissonEncoder(1, population=5, time_steps=20_000)
    observation = th.tensor([[0.7]])
    with th.no_grad():
        activity, rates = encoder.activity(observation), encoder(observation).tensor().mean(dim=0)
    # Five standard errors of a Bernoulli mean; the seed is fixed.
    assert ((rates - activity).abs() <= 5 * (activity * (1 - activity) / 20_000).sqrt() + 1e-6).all()


def test_poisson_draws_anew_at_each_step_and_call():
    encoder = PoissonEncoder(3, time_steps=50)
    observations = th.zeros(1, 3)
    first = encoder(observations).tensor()
    assert not th.equal(first, encoder(observations).tensor())
    assert first.std(dim=0).max() > 0


def test_analog_is_a_constant_current_without_copies():
    encoder = AnalogEncoder(3, time_steps=8)
    signal = encoder(th.randn(2, 3))
    assert signal.is_constant
    assert signal.values.shape == (1, 2, 30)
    assert signal.tensor().shape == (8, 2, 30)
    assert signal.tensor().data_ptr() == signal.values.data_ptr()


def test_ranges_and_widths_per_dimension():
    encoder = DeterministicEncoder(2, population=3, mean_range=[[-1, 1], [0, 10]], std=[0.1, 2.0])
    assert encoder.mean.tolist() == [[-1, 0, 1], [0, 5, 10]]
    th.testing.assert_close(encoder.std[:, 0], th.tensor([0.1, 2.0]))


def test_population_of_one_sits_in_the_middle():
    assert DeterministicEncoder(1, population=1, mean_range=(2.0, 4.0)).mean.item() == 3.0


def test_widths_stay_positive_whatever_the_optimiser_does():
    encoder = DeterministicEncoder(2)
    with th.no_grad():
        encoder.std.fill_(-1.0)
    assert (encoder.widths() > 0).all()
    assert th.isfinite(encoder(th.randn(5, 2)).tensor()).all()


@given(
    obs_dim=st.integers(1, 6),
    population=st.integers(1, 12),
    time_steps=st.integers(1, 8),
    value=st.sampled_from([0.0, 1e-38, 0.5, 3.0, -20.0, 1e6, -1e30]),
)
@settings(max_examples=60, deadline=None)
def test_extreme_observations_give_binary_spikes(obs_dim, population, time_steps, value):
    spikes = DeterministicEncoder(obs_dim, population, time_steps)(th.full((2, obs_dim), value)).tensor()
    assert spikes.shape == (time_steps, 2, obs_dim * population)
    assert ((spikes == 0) | (spikes == 1)).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_observation_is_named(value):
    observations = th.zeros(4, 3)
    observations[2, 1] = value
    with pytest.raises(ValueError, match="NaN or infinity in dimension 1"):
        DeterministicEncoder(3)(observations)


def test_finite_observations_whose_sum_overflows_are_fine():
    DeterministicEncoder(3)(th.full((4, 3), 3e38))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"population": 0}, "encoder_population=0"),
        ({"time_steps": 0}, "time_steps=0"),
        ({"std": 0.0}, "encoder_std=0.0"),
        ({"std": math.nan}, "encoder_std=nan"),
        ({"std": [0.1]}, "encoder_std=.*each of the 2"),
        ({"mean_range": (1.0, -1.0)}, "low < high"),
        ({"mean_range": (0.0, math.inf)}, "mean_range=inf"),
        ({"mean_range": 3.0}, "mean_range=3.0"),
        ({"mean_range": [[-1, 1]]}, "each of the 2"),
        ({"mean_range": [[-1, 1], [0, 1, 2]]}, "each of the 2"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        DeterministicEncoder(2, **kwargs)
