"""Gradients of a whole network at once are those of its modules, with the parameters of this very moment."""

import copy

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sb3_spiking.snn import SpikingNetwork, SpikingOptions, learning
from sb3_spiking.snn.decoders import DECODERS
from sb3_spiking.snn.neurons import NEURONS
from tests.snn.test_acting import far_from_thresholds

AT_ONCE = "_DecodeBackward"


def at_once(network, features):
    decoded = learning.decode(network, features, network._decode)
    assert type(decoded.grad_fn).__name__ == AT_ONCE
    return decoded


def gradients(decoded, network, features, seed=0):
    """Return the gradients of a random function of what was decoded, of the features and of all parameters."""
    weights = th.randn(decoded.shape, generator=th.Generator().manual_seed(seed))
    return th.autograd.grad((decoded * weights).sum(), [features, *network.parameters()])


def assert_same_gradients(network, features, tolerance=1e-5):
    features = features.detach().requires_grad_()
    own, expected = at_once(network, features), network._decode(features)
    th.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)
    pairs = zip(gradients(own, network, features), gradients(expected, network, features), strict=True)
    for actual, wanted in pairs:
        assert (actual - wanted).norm() <= tolerance * wanted.norm() + 1e-6


def lively(options, seed=0, size=5, outputs=3, arch=(40, 70)):
    """Return a network in which every layer fires, and random features away from ties."""
    th.manual_seed(seed)
    network = SpikingNetwork(size, outputs, arch, options)
    with th.no_grad():
        for layer in network.layers:
            layer.synapses.weight.mul_(3.0)
            layer.synapses.bias.add_(0.2)
    features = th.randn(60, size, generator=th.Generator().manual_seed(seed))
    return network, features[far_from_thresholds(network, features)]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(set(NEURONS) - {"plif"})),
    st.sampled_from(["deterministic", "rounded", "analog", "direct"]),
    st.sampled_from(sorted(set(DECODERS) - {"max"})),
    st.sampled_from(["atan", "sigmoid"]),  # smooth: a sum in another order changes their gradient but little
    st.sampled_from([None, 1, 10]),
    st.sampled_from(["hard", "soft"]),
    st.booleans(),
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(0, 2**16),
)
def test_every_combination_learns_as_its_modules(
    neuron, encoder, decoder, surrogate, population, reset, detach_reset, arch, time_steps, seed
):
    options = SpikingOptions(
        time_steps=time_steps,
        neuron=neuron,
        neuron_kwargs={"reset": reset} if neuron != "dynamic" else None,
        encoder=encoder,
        encoder_population=4,
        decoder=decoder,
        decoder_population=population,
        surrogate=surrogate,
    )
    network, features = lively(options, seed, arch=arch)
    for layer in network.layers:
        layer.neuron.detach_reset = detach_reset
    if len(features) > 0:
        assert_same_gradients(network, features, tolerance=1e-2)  # the dynamic neuron squares its rounding


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 60, 300])
def test_batches_of_any_number_of_tiles_learn_alike(rows):
    network, features = lively(SpikingOptions())
    features = features.repeat(6, 1)[:rows]
    assert len(features) == rows
    assert_same_gradients(network, features)


def test_the_network_itself_learns_at_once():
    network, features = lively(SpikingOptions())
    assert type(network(features).grad_fn).__name__ == AT_ONCE
    with th.no_grad():
        assert network(features).grad_fn is None


def test_gradients_are_those_of_a_hand_computed_neuron():
    # One IF neuron, one input of 0.6 at each of two steps: membranes 0.6 and 1.2, a spike at the second step.
    options = SpikingOptions(
        time_steps=2,
        neuron="if",
        encoder="direct",
        decoder_population=None,
        surrogate="rect",
        neuron_kwargs={"threshold": 1.0, "reset": "hard"},
    )
    network = SpikingNetwork(1, 1, (1,), options)
    with th.no_grad():
        network.layers[0].synapses.weight.fill_(1.0)
        network.layers[0].synapses.bias.fill_(0.0)
        network.decoder.weight.fill_(2.0)
        network.decoder.bias.fill_(0.0)
    features = th.tensor([[0.6]], requires_grad=True)
    decoded = at_once(network, features)
    assert decoded.item() == pytest.approx(1.0)  # 2 times 1 of 2 steps
    decoded.backward()
    # Both membranes lie within 0.5 of the threshold, where rect's slope is 1. With the factor 2 / 2 of the decoder,
    # dL/dh_2 = 1, and dL/dh_1 = 1 + dL/dh_2 (1 - s_1 - h_1) = 1 + (1 - 0 - 0.6); the current is the same at both.
    assert features.grad.item() == pytest.approx(1.0 + 1.4)
    assert network.layers[0].synapses.weight.grad.item() == pytest.approx(0.6 * 2.4)
    assert network.layers[0].synapses.bias.grad.item() == pytest.approx(2.4)
    assert network.decoder.weight.grad.item() == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is slower")
def test_rounded_weights_learn_as_their_modules():
    network, features = lively(SpikingOptions(precision="bfloat16", surrogate="atan"))
    assert_same_gradients(network, features, tolerance=0.02)


def test_a_gradient_is_differentiated_again_through_the_modules():
    network, features = lively(SpikingOptions(surrogate="atan"))
    features = features[:8].clone().requires_grad_()

    def curvature(decoded):
        (slope,) = th.autograd.grad(decoded.square().sum(), features, create_graph=True)
        return th.autograd.grad(slope.square().sum(), list(network.parameters()), allow_unused=True)

    for own, expected in zip(curvature(at_once(network, features)), curvature(network._decode(features)), strict=True):
        th.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)


def relative_errors(gradients, expected):
    return [((a - b).norm() / b.norm()).item() for a, b in zip(gradients, expected, strict=True)]


@pytest.mark.parametrize("encoder", ["direct", "deterministic"])
def test_features_that_depend_on_the_network_are_differentiated_once(encoder):
    options = SpikingOptions(encoder=encoder, surrogate="atan")
    network = SpikingNetwork(3, 3, (64, 64), options)
    observations = th.randn(30, 3, generator=th.Generator().manual_seed(0))

    def gradients_of(once):
        loss = network(3.0 * network(observations)).sum()
        return th.autograd.grad(loss, list(network.parameters()), create_graph=not once)

    assert max(relative_errors(gradients_of(once=False), gradients_of(once=True))) < 1e-3


def test_a_weight_of_two_layers_is_differentiated_in_both():
    network = SpikingNetwork(3, 3, (64, 64, 64), SpikingOptions(encoder="direct", surrogate="atan"))
    network.layers[2].synapses.weight = network.layers[1].synapses.weight
    observations = th.randn(30, 3, generator=th.Generator().manual_seed(0))
    own, expected = (
        th.autograd.grad(network(observations).sum(), list(network.parameters()), create_graph=create)
        for create in (True, False)
    )
    assert max(relative_errors(own, expected)) < 1e-3


def test_a_gradient_is_that_of_the_weights_of_its_forward_pass():
    network, features = lively(SpikingOptions(surrogate="atan"))
    decoded = at_once(network, features)
    weight = network.layers[0].synapses.weight
    expected = th.autograd.grad(decoded.sum(), weight, retain_graph=True)[0]
    network.layers[0].synapses.weight = nn.Parameter(th.zeros_like(weight))
    (own,) = th.autograd.grad(decoded.sum(), weight, create_graph=True)
    th.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)


def test_autocast_around_the_backward_pass_changes_nothing():
    network, features = lively(SpikingOptions())
    given = features.clone().requires_grad_()
    expected = gradients(at_once(network, given), network, given)
    with th.autocast("cpu", dtype=th.bfloat16):
        own = gradients(network._learn(given), network, given)
    for a, b in zip(own, expected, strict=True):
        th.testing.assert_close(a, b)


def test_networks_are_made_in_inference_mode_too():
    with th.inference_mode():
        network = SpikingNetwork(5, 3, (16,), SpikingOptions())
        assert network(th.randn(2, 5)).shape == (2, 3)


def test_a_network_that_is_frozen_keeps_nothing():
    network, features = lively(SpikingOptions())
    network.requires_grad_(False)
    assert learning.decode(network, features, network._decode) is None
    assert not network(features).requires_grad
    assert type(network(features.clone().requires_grad_()).grad_fn).__name__ == AT_ONCE


def test_two_forward_passes_do_not_share_their_memory():
    network, features = lively(SpikingOptions())
    first, second = features.clone().requires_grad_(), (-features).requires_grad_()
    decoded = [at_once(network, given) for given in (first, second)]
    expected = [gradients(network._decode(given), network, given) for given in (first, second)]
    for one, own, wanted in zip((first, second), decoded, expected, strict=True):
        for a, b in zip(gradients(own, network, one), wanted, strict=True):
            th.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_retained_graph_gives_its_gradients_twice():
    network, features = lively(SpikingOptions())
    decoded = at_once(network, features)
    first, second = (
        th.autograd.grad(decoded.sum(), list(network.parameters()), retain_graph=retain) for retain in (True, False)
    )
    assert all(map(th.equal, first, second))
    with pytest.raises(RuntimeError, match="second time"):
        th.autograd.grad(decoded.sum(), list(network.parameters()))


def test_weights_that_change_before_the_backward_pass_are_noticed():
    network, features = lively(SpikingOptions())
    decoded = at_once(network, features)
    with th.no_grad():
        network.layers[1].synapses.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        decoded.sum().backward()


def test_frozen_parameters_get_no_gradient():
    network, features = lively(SpikingOptions())
    expected = gradients(network._decode(given := features.clone().requires_grad_()), network, given)
    network.encoder.requires_grad_(False)
    network.layers[0].requires_grad_(False)
    network(features).mul(th.randn(len(features), 3, generator=th.Generator().manual_seed(0))).sum().backward()
    for parameter, wanted in zip(network.parameters(), expected[1:], strict=True):
        assert (parameter.grad is not None) == parameter.requires_grad
        if parameter.requires_grad:
            th.testing.assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-5)


def test_a_surrogate_that_was_sharpened_counts_at_once():
    network, features = lively(SpikingOptions(surrogate="atan"))
    before = gradients(at_once(network, given := features.clone().requires_grad_()), network, given)
    for layer in network.layers:
        layer.neuron.surrogate_function.alpha = 11.0
    assert_same_gradients(network, features)
    after = gradients(at_once(network, given := features.clone().requires_grad_()), network, given)
    assert not th.allclose(before[0], after[0])


def test_hooks_and_other_modules_see_everything():
    network, features = lively(SpikingOptions())
    other = copy.deepcopy(network)
    seen = []
    handle = network.layers[0].synapses.register_full_backward_hook(lambda *_: seen.append(1))
    network(features).sum().backward()
    assert seen
    handle.remove()
    assert type(network(features).grad_fn).__name__ == AT_ONCE
    other.layers[0].synapses = nn.utils.parametrizations.weight_norm(other.layers[0].synapses)
    assert learning.decode(other, features, other._decode) is None


@pytest.mark.parametrize(
    "options",
    [
        SpikingOptions(neuron="plif"),
        SpikingOptions(decoder="max"),
        SpikingOptions(encoder="poisson"),
        SpikingOptions(membrane_norm="layer"),
        SpikingOptions(intra_connections=True),
    ],
    ids=["a learnt constant", "a decoder that is not linear", "chance", "normalised currents", "lateral connections"],
)
def test_what_is_not_covered_learns_by_its_modules(options):
    network = SpikingNetwork(5, 3, (16,), options)
    features = th.randn(4, 5)
    assert learning.decode(network, features, network._decode) is None
    network(features).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("bad", [th.nan, th.inf])
def test_what_is_not_finite_is_refused_by_dimension(bad):
    network, features = lively(SpikingOptions())
    features[1, 2] = bad
    with pytest.raises(ValueError, match="dimension 2"):
        network(features)


def test_an_empty_batch_has_no_gradient_to_give():
    network, _ = lively(SpikingOptions())
    network(th.zeros(0, 5)).sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.parameters())
