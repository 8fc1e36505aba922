from unittest import mock

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron as sj

from sb3_spiking.conversion import codings
from sb3_spiking.conversion.codings import CODINGS, FewSpike, Rate, Residual, Signed, Ternary

modest = settings(max_examples=60, deadline=None)
# Multiples of 1/64: float32 adds them without rounding, so that every comparison is exact.
sixty_fourths = st.integers(-192, 192).map(lambda n: n / 64)
drives = st.lists(st.lists(sixty_fourths, min_size=3, max_size=3), min_size=1, max_size=20)
shares = st.sampled_from([0.0, 0.25, 0.5, 0.75])
activations = st.floats(-0.5, 1.5, width=32)


def column(values):
    """Return the drive of one neuron, ``[T, 1, 1]``."""
    return th.tensor(values)[:, None, None]


def integrate_and_fire(drive, initial, reset="soft"):
    """Run the neurons as the equations have it, one number at a time; return spikes and what is left."""
    spikes, membrane = np.zeros(np.shape(drive)), np.full(np.shape(drive)[1:], initial)
    for step, current in enumerate(np.asarray(drive, np.float64)):
        membrane += current
        spikes[step] = membrane >= 1.0
        membrane = membrane - spikes[step] if reset == "soft" else np.where(spikes[step], 0.0, membrane)
    return spikes, membrane


@modest
@given(drives, shares, st.sampled_from(["soft", "hard"]))
def test_rate_neurons_equal_their_equations(drive, initial, reset):
    coding = Rate(len(drive), reset=reset, initial=initial)
    np.testing.assert_array_equal(coding.fire(th.tensor(drive)), integrate_and_fire(drive, initial, reset)[0])


@modest
@given(drives)
def test_spikes_and_remaining_membrane_are_the_accumulated_current(drive):
    # Tan's robust rate with SpikingJelly's neuron as the output, against an output that only accumulates.
    current = th.tensor(drive)
    node = sj.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
    robust = node(current).sum(0) + node.v
    accumulated = Rate(len(drive), initial=0.0).readout(current) * len(drive)
    np.testing.assert_allclose(robust, accumulated, atol=1e-5)


def test_hard_reset_forgets_what_is_above_the_threshold():
    drive = column([0.75, 0.75, 0.75, 0.75])
    assert Rate(4, reset="soft", initial=0.0).fire(drive).flatten().tolist() == [0, 1, 1, 1]
    assert Rate(4, reset="hard", initial=0.0).fire(drive).flatten().tolist() == [0, 1, 0, 1]


@modest
@given(st.integers(0, 64), st.integers(1, 40))
def test_half_a_threshold_rounds_a_constant_drive_to_the_nearest_rate(share, steps):
    drive = th.full((steps, 1, 1), share / 64)
    assert Rate(steps, initial=0.5).fire(drive).sum() == np.floor(steps * share / 64 + 0.5)
    assert Rate(steps, initial=0.0).fire(drive).sum() == np.floor(steps * share / 64)


def test_settling_steps_are_not_read_but_do_charge():
    drive = column([1.0, 0.5, 0.5, 0.25])
    coding = Rate(4, initial=0.0, settling=2)
    spikes = coding.fire(drive)
    assert spikes.flatten().tolist() == [1, 0, 1, 0]
    assert coding.decode(spikes).item() == 0.5
    assert coding.readout(drive).item() == 0.375


@modest
@given(drives, shares)
def test_signed_neurons_equal_their_equations(drive, initial):
    spikes = Signed(len(drive), initial=initial).fire(th.tensor(drive)).numpy()
    for neuron, fired in zip(np.transpose(drive), spikes.T, strict=True):
        membrane, sent = initial, 0
        for current, spike in zip(neuron, fired, strict=True):
            membrane += current
            expected = 1 if membrane >= 1.0 else -1 if membrane < 0.0 and sent > 0 else 0
            assert spike == expected
            membrane -= expected
            sent += expected


@modest
@given(drives)
def test_a_signed_neuron_never_takes_back_more_than_it_sent(drive):
    assert Signed(len(drive)).fire(th.tensor(drive)).cumsum(0).min() >= 0.0


@modest
@given(st.lists(st.integers(-64, 64).map(lambda n: n / 64), min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_a_signed_rate_does_not_depend_on_the_order_of_the_inputs(inputs, random):
    # Of inputs up to the threshold, that is: a neuron sends one spike a step.
    shuffled = random.sample(inputs, len(inputs))
    expected = max(0.0, np.floor(0.5 + sum(inputs)))
    for order in (inputs, shuffled, sorted(inputs), sorted(inputs, reverse=True)):
        assert Signed(len(inputs)).fire(column(order)).sum() == expected


def test_a_plain_rate_does_depend_on_the_order():
    early, late = [1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]
    assert [Rate(4).fire(column(order)).sum().item() for order in (early, late)] == [2, 0]
    assert [Signed(4).fire(column(order)).sum().item() for order in (early, late)] == [0, 0]


@modest
@given(st.lists(activations, min_size=1, max_size=20), st.integers(1, 23))
def test_few_spikes_are_the_nearest_binary_digits(values, bits):
    spikes = FewSpike(bits).fire(th.tensor(values))
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    nearest = np.floor(np.clip(np.float64(values), 0.0, 1.0) * 2.0**bits + 0.5) / 2.0**bits
    # Exact, but for what rounding to float32 may do to half a digit before it is compared.
    expected = np.minimum(nearest, 1.0 - 2.0**-bits)
    decoded = FewSpike(bits).decode(spikes).numpy()
    off = decoded != expected
    ties = np.abs(np.float64(values) * 2.0**bits % 1.0 - 0.5) < 2.0 ** (bits - 23)
    assert not (off & ~ties).any()


@modest
@given(st.sampled_from([FewSpike, Ternary]), st.lists(activations, min_size=1, max_size=20), st.integers(1, 14))
def test_digits_lie_within_half_a_last_digit(cls, values, digits):
    coding = cls(digits)
    x = th.tensor(values)
    decoded = coding.decode(coding.fire(x)).double()
    last = coding.digit_values()[-1]
    most = sum(coding.digit_values())
    assert ((decoded - x.double().clamp(0.0, most)).abs() <= last / 2 + 2e-7).all()
    assert (decoded[x <= 0.0] == 0.0).all()
    assert th.allclose(decoded[x >= 1.0], th.tensor(most, dtype=th.float64), rtol=0.0, atol=2e-7)


@modest
@given(st.lists(st.integers(0, 2**8), min_size=1, max_size=20))
def test_numbers_of_as_many_bits_are_sent_exactly(values):
    x = th.tensor(values) / 2**8
    coding = FewSpike(8)
    assert th.equal(coding.decode(coding.fire(x)), x.clamp(max=255 / 256))


@modest
@given(st.lists(activations, min_size=1, max_size=20), st.integers(1, 14))
def test_ternary_digits_never_stand_for_a_negative_number(values, digits):
    spikes = Ternary(digits).fire(th.tensor(values))
    first = [row[row != 0][:1].tolist() for row in spikes.T]
    assert all(spike in ([], [1.0]) for spike in first)
    assert (Ternary(digits).decode(spikes) >= 0.0).all()


def test_ternary_digits_by_hand():
    # 0.5 = 2/3 - 2/9 + 2/27 - ..., 1/3 = 2/3 - 2/9 - 2/27 - ... or 2/9 + 2/27 + ..., and 1 is all of them.
    spikes = Ternary(4).fire(th.tensor([0.5, 0.3, 1.0, -0.5]))
    assert spikes.T.tolist() == [[1, -1, 1, -1], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]


@modest
@given(st.integers(0, 3**8 // 2))
def test_every_ternary_number_is_sent_exactly(number):
    x = th.tensor([2 * number / 3**8])
    coding = Ternary(8)
    assert abs(coding.decode(coding.fire(x)).item() - min(x.item(), 1 - 3**-8)) < 1e-6


@pytest.mark.parametrize(("cls", "most"), [(FewSpike, 23), (Ternary, 14)])
def test_more_digits_than_float32_has_are_refused(cls, most):
    cls(most)
    with pytest.raises(ValueError, match=f"takes at most {most}"):
        cls(most + 1)


def test_a_residue_by_hand():
    # 3.25 leave 0.25; -1 leaves nothing, for nothing was sent that was too much; 9 leave 6, cut off at 0.5.
    drive = th.tensor([[1.25, 0.25, 3.0], [1.25, 0.0, 3.0], [0.75, -1.25, 3.0]])
    coding = Residual(3, alpha=0.5)
    spikes = coding.fire(drive)
    assert spikes.sum(0).tolist() == [3, 0, 3]
    assert coding.residue(drive, spikes).tolist() == [0.5 + 0.125, 0.5, 1.0]


@modest
@given(drives, shares, st.sampled_from([0.0, 0.25, 1.0]))
def test_residues_equal_those_of_crpi(drive, initial, alpha):
    coding = Residual(len(drive), alpha=alpha)
    current = th.tensor(drive)
    spikes = coding.fire(current, th.full((3,), initial))
    expected_spikes, membrane = integrate_and_fire(drive, initial)
    left = np.maximum(membrane - initial, -expected_spikes.sum(0))
    np.testing.assert_array_equal(spikes, expected_spikes)
    np.testing.assert_allclose(coding.residue(current, spikes), np.clip(alpha * left, -0.5, 0.5) + 0.5, atol=1e-6)


def test_only_the_residual_coding_leaves_a_residue():
    drive = th.ones(1, 2, 3)
    leaving = [name for name, cls in CODINGS.items() if cls(1).residue(drive, drive) is not None]
    assert leaving == ["residual"]


@pytest.mark.parametrize("cls", CODINGS.values())
def test_a_single_step_is_enough(cls):
    coding = cls(1)
    x = th.tensor([[0.0, 0.2, 0.8, 2.0]])
    spikes = coding.fire(coding.constant_drive(x))
    assert spikes.shape == (1, 1, 4)
    assert spikes.flatten().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("cls", CODINGS.values())
def test_neurons_of_a_feature_map_are_neurons_like_others(cls):
    coding = cls(6)
    current = th.rand(2, 3, 4, 4)
    drive = coding.constant_drive(current)
    flat = coding.fire(coding.constant_drive(current.flatten(1)))
    assert th.equal(coding.fire(drive).flatten(2), flat)


@pytest.mark.parametrize("cls", CODINGS.values())
def test_firing_does_not_change_the_drive(cls):
    drive = cls(5).constant_drive(th.rand(2, 3)).contiguous()
    before = drive.clone()
    initial = th.full((2, 3), 0.25)
    cls(5).fire(drive, initial)
    assert th.equal(drive, before)
    assert (initial == 0.25).all()


def test_latencies():
    assert {name: cls(12).latency(3) for name, cls in CODINGS.items()} == {
        "rate": 12,
        "signed": 12,
        "residual": 12,
        "few-spike": 36,
        "ternary": 36,
    }


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Rate(0), "time_steps=0"),
        (lambda: Rate(2.0), r"time_steps=2\.0"),
        (lambda: FewSpike(True), "time_steps=True"),
        (lambda: Rate(4, reset="none"), "reset='none'"),
        (lambda: Rate(4, initial=1.0), r"initial=1\.0"),
        (lambda: Rate(4, initial=float("nan")), "initial=nan"),
        (lambda: Rate(4, settling=4), "settling=4"),
        (lambda: Rate(4, settling=-1), "settling=-1"),
        (lambda: Rate(4, settling=2.0), r"settling=2\.0"),
        (lambda: Signed(4, reset="hard"), "reset='hard'"),
        (lambda: Residual(4, reset="hard"), "reset='hard'"),
        (lambda: Residual(4, alpha=1.5), r"alpha=1\.5"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_their_name(make, names):
    with pytest.raises(ValueError, match=names):
        make()


@modest
@given(st.sampled_from([Signed, FewSpike, Ternary]), st.integers(1, 14), st.integers(1, 1500), st.integers(0, 2**31))
def test_the_kernels_equal_the_operations_of_torch_that_run_elsewhere(cls, time_steps, size, seed):
    coding = cls(time_steps)
    generator = th.Generator().manual_seed(seed)
    shape = (time_steps, size) if cls is Signed else (size,)
    # Many at thresholds, and some neither there nor numbers.
    drive = (th.randn(shape, generator=generator) * 9).round() / 9
    drive.flatten()[::7] = th.randn(shape, generator=generator).flatten()[::7]
    drive.flatten()[::11] = th.nan
    fused = coding.fire(drive)
    with mock.patch.object(codings, "unsupported", return_value="a test"):
        assert th.equal(fused, coding.fire(drive))


def test_a_node_of_a_rate_code_is_used_again_from_rest():
    drive = column([0.75, 0.75, 0.75])
    assert th.equal(Rate(3).fire(drive), Rate(3).fire(drive))
    hard = Rate(3, reset="hard").fire(drive)
    assert th.equal(hard, Rate(3, reset="hard").fire(drive))
    assert not th.equal(hard, Rate(3).fire(drive))
