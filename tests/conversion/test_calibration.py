import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sb3_spiking.conversion import calibration
from sb3_spiking.conversion.calibration import Threshold, thresholds
from sb3_spiking.conversion.dense import DenseNetwork
from tests.conversion.agents import network, states


def percentiles(net, features, percent, per_neuron):
    """Return numpy's percentiles over all the states at once."""
    outputs = [output.numpy() for output in net.outputs(features)]
    hidden = outputs[:-1]
    if per_neuron:
        neurons = [output.swapaxes(0, 1).reshape(output.shape[1], -1) for output in hidden]
        return [*(np.percentile(rows, percent, axis=1) for rows in neurons), np.percentile(outputs[-1], percent)]
    return [np.percentile(output, percent) for output in outputs]


def convolutional():
    """Return a convolution, the hidden layer behind it and the outputs, and images."""
    generator = th.Generator().manual_seed(3)
    layers = [nn.Conv2d(2, 3, 2), nn.Linear(12, 5), nn.Linear(5, 2)]
    for parameter in (parameter for layer in layers for parameter in layer.parameters()):
        parameter.data = 0.2 + th.rand(parameter.shape, generator=generator)
    return DenseNetwork(layers).double().requires_grad_(False), th.rand(50, 2, 3, 3, generator=generator).double()


@pytest.mark.parametrize("batch", [1, 7, 256])
@pytest.mark.parametrize("percent", [100.0, 99.9, 90.0])
@pytest.mark.parametrize("per_neuron", [True, False])
def test_thresholds_come_from_all_the_states_at_once(monkeypatch, batch, percent, per_neuron):
    # A moving average over batches, as SpikingJelly's, would depend on how they are cut.
    monkeypatch.setattr(calibration, "BATCH", batch)
    for net, features in ((network(4, 8, 6, 3), states(101, 4)), convolutional()):
        found = thresholds(net, features, Threshold(percent, per_neuron=per_neuron))
        for own, expected in zip(found, percentiles(net, features, percent, per_neuron), strict=True):
            positive = np.broadcast_to(np.greater(expected, 0.0), own.shape).copy()
            assert positive.any()
            np.testing.assert_allclose(own[positive], np.broadcast_to(expected, own.shape)[positive], rtol=1e-12)


def test_a_maximum_in_the_last_state_counts():
    net = network(4, 8, 6, 3)
    features = states(300, 4)
    features[-1] *= 100.0
    assert th.equal(thresholds(net, features, Threshold())[0], next(net.outputs(features)).amax(0))


def test_a_channel_has_one_threshold():
    net, features = convolutional()
    channels, neurons, outputs = thresholds(net, features, Threshold())
    assert th.equal(channels, next(net.outputs(features)).amax((0, 2, 3)))
    assert (len(neurons), len(outputs)) == (5, 2)
    assert outputs[0] == outputs[1] == net(features).max()


def test_negative_outputs_count_in_a_percentile():
    # Tan takes it before the ReLU: zeros in place of negative numbers would give another number between two states.
    net = DenseNetwork([nn.Linear(1, 1), nn.Linear(1, 1)])
    for layer in net.layers:
        layer.weight.data.fill_(1.0)
        layer.bias.data.zero_()
    features = th.tensor([[-10.0], [10.0]])
    assert thresholds(net, features, Threshold(percent=60.0))[0].item() == pytest.approx(2.0)


@pytest.mark.parametrize("percent", [100.0, 99.9])
def test_a_silent_neuron_gets_its_layers_threshold(percent):
    net = network(4, 8, 3)
    net.layers[0].bias[2] = -1000.0
    features = states(50, 4)
    whole = thresholds(net, features, Threshold(percent, per_neuron=False))[0]
    found = thresholds(net, features, Threshold(percent))[0]
    assert found[2] == whole[2]
    assert (found > 0.0).all()


@pytest.mark.parametrize("per_neuron", [True, False])
def test_a_silent_layer_gets_thresholds_of_1(per_neuron):
    net = network(4, 8, 3)
    net.layers[0].bias -= 1000.0
    hidden, _ = thresholds(net, states(50, 4), Threshold(factor=1.5, per_neuron=per_neuron))
    assert (hidden == 1.5).all()


def test_negative_q_values_get_the_threshold_of_their_size():
    net = network(4, 8, 3)
    net.layers[-1].bias -= 1000.0
    features = states(50, 4)
    *_, outputs = thresholds(net, features, Threshold())
    assert (outputs == net(features).abs().max()).all()


def test_q_values_of_zero_get_a_threshold_of_1():
    net = network(4, 8, 3)
    for parameter in net.layers[-1].parameters():
        parameter.zero_()
    assert (thresholds(net, states(50, 4), Threshold())[-1] == 1.0).all()


def test_a_factor_multiplies_every_threshold():
    net, features = network(4, 8, 6, 3), states(50, 4)
    plain, room = (thresholds(net, features, Threshold(99.9, factor)) for factor in (1.0, 1.5))
    assert all(th.equal(1.5 * a, b) for a, b in zip(plain, room, strict=True))


def test_a_single_state_is_enough():
    net, features = network(4, 8, 3), states(1, 4)
    (output,), (found, _) = next(net.outputs(features)), thresholds(net, features, Threshold())
    assert th.equal(found, th.where(output > 0.0, output, output.max()))


@settings(max_examples=50, deadline=None)
@given(st.one_of(st.just(100.0), st.integers(1, 999).map(lambda n: n / 10)), st.integers(1, 99).map(lambda n: n / 10))
def test_the_notation_can_be_read_again(percent, factor):
    threshold = Threshold(percent, factor)
    assert Threshold.parse(str(threshold), per_neuron=True) == threshold


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("max", Threshold()),
        ("99.9%", Threshold(99.9)),
        ("max*1.5", Threshold(factor=1.5)),
        ("100%*2", Threshold(factor=2.0)),
    ],
)
def test_notations(text, threshold):
    assert Threshold.parse(text, per_neuron=True) == threshold


@pytest.mark.parametrize(
    "text", ["", "Max", "99.9", "0%", "100.1%", "max*0", "max*-1", "-5%", "max*1e3", "nan%", " max"]
)
def test_other_notations_are_refused(text):
    with pytest.raises(ValueError, match="threshold"):
        Threshold.parse(text, per_neuron=True)
