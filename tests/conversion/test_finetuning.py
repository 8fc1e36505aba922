import copy

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_spiking.conversion import convert, finetuning, load_dqn
from sb3_spiking.conversion.calibration import Threshold, thresholds
from sb3_spiking.conversion.codings import FewSpike, Rate, Residual, Signed, Ternary
from sb3_spiking.conversion.dense import DenseNetwork
from sb3_spiking.conversion.finetuning import _spiking_values, finetune
from sb3_spiking.conversion.network import convert_layers
from tests.conversion.agents import IMAGE, dqn, network, observations, states

THRESHOLD = Threshold(percent=99.9)


def agreement(net, values, coding, teacher, features):
    """Return the share of equal decisions."""
    return (
        (convert_layers(net, values, coding)(features).argmax(1) == teacher(features).argmax(1)).float().mean().item()
    )


@pytest.fixture
def losses(monkeypatch):
    """Return the losses of the gradient steps to come."""
    seen, loss = [], finetuning._loss

    def noted(*args):
        value = loss(*args)
        seen.append(value.item())
        return value

    monkeypatch.setattr(finetuning, "_loss", noted)
    return seen


def convolutional():
    """Return a convolution, a hidden layer and the outputs, and images."""
    generator = th.Generator().manual_seed(1)
    layers = [nn.Conv2d(2, 4, 3), nn.Linear(64, 8), nn.Linear(8, 3)]
    for layer in layers:
        layer.weight.data = th.randn(layer.weight.shape, generator=generator) / layer.weight[0].numel() ** 0.5
        layer.bias.data = 0.3 * th.randn(layer.bias.shape, generator=generator)
    return DenseNetwork(layers).requires_grad_(False), th.randn(2000, 2, 6, 6, generator=generator)


@pytest.fixture(params=["fully connected", "convolutional"])
def case(request):
    """Return a DQN and its states."""
    if request.param == "convolutional":
        return convolutional()
    return network(4, 32, 32, 3, dtype=th.float32), states(6000, 4, dtype=th.float32)


def test_a_short_code_decides_more_often_as_the_dqn_after_fine_tuning(case, losses):
    net, features = case
    train, test = features[::2], features[1::2]
    coding, before, told = Rate(2 if train.dim() == 4 else 4), thresholds(net, train, THRESHOLD), []
    student, after = finetune(net, before, coding, train, 250, progress=lambda: told.append(1))
    assert len(losses) == len(told) == 250
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:10])
    assert agreement(student, after, coding, net, test) > agreement(net, before, coding, net, test) + 0.02


@pytest.mark.parametrize("coding", [Rate(2, reset="hard"), Signed(2), Residual(2), Ternary(1), FewSpike(2)])
def test_any_coding_can_be_trained(coding, losses):
    net, features = network(4, 32, 32, 3, dtype=th.float32), states(500, 4, dtype=th.float32)
    finetune(net, thresholds(net, features, THRESHOLD), coding, features, 80)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_the_dqn_and_its_thresholds_are_not_changed(case):
    net, features = case
    values = thresholds(net, features, THRESHOLD)
    weights, before = copy.deepcopy(net.state_dict()), copy.deepcopy(values)
    student, after = finetune(net, values, Rate(4), features[:9], 5)  # too few to hold any out
    for name, tensor in net.state_dict().items():
        assert th.equal(tensor, weights[name])
        assert not th.equal(tensor, student.state_dict()[name])
    assert all(th.equal(a, b) for a, b in zip(values, before, strict=True))
    assert not any(parameter.requires_grad for network in (net, student) for parameter in network.parameters())
    assert not any(threshold.requires_grad for threshold in after)


def test_thresholds_are_trained_but_for_the_outputs(case):
    net, features = case
    before = thresholds(net, features, Threshold(percent=90.0))
    _, after = finetune(net, before, Rate(4), features, 20)
    for old, new in zip(before[:-1], after[:-1], strict=True):
        assert old.shape == new.shape
        assert (new > 0.0).all()
        assert not th.equal(old, new)
    assert th.equal(before[-1], after[-1])


def test_training_repeats_under_a_seed_and_leaves_others_alone(case):
    net, features = case
    values = thresholds(net, features, THRESHOLD)
    th.manual_seed(5)
    state = th.get_rng_state()
    first = finetune(net, values, Rate(4), features, 5, seed=1)
    assert th.equal(th.get_rng_state(), state)
    second, other = (finetune(net, values, Rate(4), features, 5, seed=seed) for seed in (1, 2))
    for (student, limits), same in ((second, True), (other, False)):
        equal = [th.equal(a, b) for a, b in zip(first[0].parameters(), student.parameters(), strict=True)]
        assert all(equal) == same
        assert th.equal(first[1][0], limits[0]) == same


def test_what_is_trained_is_what_will_decide(case):
    net, features = case
    values = thresholds(net, features, THRESHOLD)
    for coding in (Rate(4), Signed(3, initial=0.25), Ternary(3)):
        spiking = convert_layers(net, values, coding)(features[:9])
        np.testing.assert_allclose(_spiking_values(net, values, coding, features[:9]), spiking, atol=1e-5)


def test_gradients_are_those_of_relus_that_saturate():
    net, features = network(3, 5, 4, 2), 3.0 * states(6, 3)
    values = thresholds(net, features, Threshold(percent=70.0))
    student = copy.deepcopy(net).requires_grad_(True)
    limits = [threshold.clone().requires_grad_(True) for threshold in values[:-1]]
    # With very many steps the spikes are what the ReLU gives, and so are the gradients.
    _spiking_values(student, [*limits, values[-1]], Rate(20_000), features).square().sum().backward()
    twin, own = (
        copy.deepcopy(net).requires_grad_(True),
        [threshold.clone().requires_grad_(True) for threshold in values],
    )
    activation = features
    for layer, limit in zip(twin.layers, own[:-1], strict=False):
        activation = th.minimum(layer(activation).relu(), limit)
    twin.layers[-1](activation).square().sum().backward()
    for ours, expected in zip([*student.parameters(), *limits], [*twin.parameters(), *own[:-1]], strict=True):
        np.testing.assert_allclose(ours.grad, expected.grad, rtol=2e-3, atol=2e-2)
    assert limits[0].grad.abs().max() > 0.1


def test_a_constant_for_all_the_actions_of_a_state_does_not_matter(losses):
    net, features = network(4, 16, 3, dtype=th.float32), states(100, 4, dtype=th.float32)
    values = thresholds(net, features, THRESHOLD)
    shifted = copy.deepcopy(net)
    shifted.layers[-1].bias += 100.0
    for each in (net, shifted):
        finetune(each, values, Rate(4), features, 3)
    assert len(losses) == 6
    np.testing.assert_allclose(losses[:3], losses[3:], rtol=1e-2)


def test_fewer_states_than_a_batch_are_enough():
    net, features = network(4, 16, 3, dtype=th.float32), states(3, 4, dtype=th.float32)
    student, _ = finetune(net, thresholds(net, features, THRESHOLD), Rate(4), features, 2)
    assert all(th.isfinite(parameter).all() for parameter in student.parameters())


@pytest.mark.parametrize("n_actions", [1, 2])
def test_q_values_without_any_difference_do_no_harm(n_actions):
    # Nothing is to be learnt of a single action, nor of outputs that are all equal: their deviation is 0.
    net, features = (
        network(4, 16, n_actions, dtype=th.float32),
        states(1 if n_actions == 1 else 20, 4, dtype=th.float32),
    )
    net.layers[-1].weight.zero_()
    net.layers[-1].bias.fill_(0.5)
    student, values = finetune(net, thresholds(net, features, THRESHOLD), Rate(4), features, 3)
    assert all(th.isfinite(tensor).all() for tensor in [*student.parameters(), *values])


@pytest.mark.parametrize("steps", [-1, 1.5, True])
def test_steps_are_a_number(steps):
    with pytest.raises(ValueError, match="finetune_steps"):
        convert(dqn(), observations(), finetune_steps=steps)


def test_a_policy_can_be_converted_and_fine_tuned_at_once():
    teacher = load_dqn(dqn(IMAGE, net_arch=[]))
    batch = observations(IMAGE, n=32)
    before = teacher.q_values(batch)[0]
    plain, tuned = (convert(teacher, batch, method="rate", time_steps=2, finetune_steps=steps) for steps in (0, 60))
    assert tuned.origin["finetune_steps"] == 60

    def error(policy):
        values = policy.q_values(batch)[0]
        return np.square((values - values.mean(1, keepdims=True)) - (before - before.mean(1, keepdims=True))).mean()

    assert error(tuned) < error(plain)
    np.testing.assert_array_equal(teacher.q_values(batch)[0], before)


def test_training_that_helps_no_decision_is_not_kept(case):
    net, features = case
    values = thresholds(net, features, THRESHOLD)
    student, after = finetune(net, values, Rate(4), features, 5, learning_rate=10.0)
    for name, tensor in net.state_dict().items():
        assert th.equal(tensor, student.state_dict()[name])
    assert all(th.equal(one, other) for one, other in zip(values, after, strict=True))
