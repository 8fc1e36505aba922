import copy

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import ann2snn
from spikingjelly.activation_based import functional as sj_functional
from spikingjelly.activation_based import neuron as sj
from stable_baselines3 import DQN
from torch import nn

from sb3_spiking.conversion import METHODS, convert, load_dqn
from sb3_spiking.conversion import network as converted_network
from sb3_spiking.conversion.calibration import Threshold, thresholds
from sb3_spiking.conversion.codings import CODINGS, FewSpike, Rate, Residual, Ternary
from sb3_spiking.conversion.dense import DenseNetwork
from sb3_spiking.conversion.methods import make_method
from sb3_spiking.conversion.network import convert_layers
from sb3_spiking.snn.operations import cost_of
from tests.conversion.agents import CODINGS as NAMES
from tests.conversion.agents import IMAGE, Random, dqn, network, observations, states

TAN = METHODS["tan2021"]


def fully_connected(*weights_and_biases):
    """Return the layers with these numbers."""
    layers = []
    for weight, bias in weights_and_biases:
        layer = nn.Linear(len(weight[0]), len(weight))
        layer.load_state_dict({"weight": th.tensor(weight), "bias": th.tensor(bias)})
        layers.append(layer)
    return DenseNetwork(layers).requires_grad_(False)


def converted(net, features, name, time_steps=None, **kwargs):
    """Convert with a named method, calibrated on the features."""
    method = make_method(name, time_steps, **kwargs)
    return convert_layers(net, thresholds(net, features, method.threshold), method.coding)


def tan(net, calibration, features, time_steps):
    """Convert and run as Tan et al. (2021) have it, number by number in float64; return the robust Q-values."""
    outputs = [output.numpy() for output in net.outputs(calibration)]
    scales = [np.percentile(output, 99.9) for output in outputs]
    layers = []
    for layer, before, after in zip(net.layers, [1.0, *scales], scales, strict=False):
        layers.append((layer.weight.numpy() * (before / after), layer.bias.numpy() / after))
    values = np.zeros((len(features), layers[-1][1].size))
    for row, observation in enumerate(features.numpy()):
        membranes = [np.zeros(bias.size) for _, bias in layers]
        counts = np.zeros(layers[-1][1].size)
        for _ in range(time_steps):
            sent = observation
            for (weight, bias), membrane in zip(layers, membranes, strict=True):
                membrane += weight @ sent + bias
                sent = (membrane >= 1.0).astype(np.float64)
                membrane -= sent
            counts += sent
        values[row] = (counts + membranes[-1]) / time_steps * scales[-1]
    return values


def spikingjelly(net, calibration, features, time_steps, **settings):
    """Convert with SpikingJelly, which takes ReLUs that are modules, and return the mean output."""
    stack = []
    for layer in net.layers:
        stack += [nn.Flatten(1), layer] if isinstance(layer, nn.Linear) else [layer]
        stack.append(nn.ReLU())
    # A single batch: it would take a moving average over several, and no maximum.
    recipe = ann2snn.RateCodingRecipe([calibration], **settings)
    snn = ann2snn.FXConverter(recipe).convert(copy.deepcopy(nn.Sequential(*stack[:-1])))
    with th.no_grad():
        values = sum(snn(features) for _ in range(time_steps)) / time_steps
    sj_functional.reset_net(snn)
    return values


def convolutional(seed=0):
    """Return two convolutions, a hidden layer and the outputs, in float64, and how to draw images."""
    generator = th.Generator().manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, 2), nn.Conv2d(4, 3, 2), nn.Linear(12, 8), nn.Linear(8, 3)]
    net = DenseNetwork(layers).double().requires_grad_(False)
    for layer in net.layers:
        layer.weight.copy_(th.randn(layer.weight.shape, generator=generator) / layer.weight[0].numel() ** 0.5)
        layer.bias.copy_(0.3 * th.randn(layer.bias.shape, generator=generator))
    return net, lambda n: th.randn(n, 2, 8, 8, generator=generator).double()


def test_tans_method_by_hand():
    # On the state (1, 1) both hidden neurons give 2 and both outputs 4, so these are the scales. On (0.5, 0.25) the
    # hidden currents are 0.375 and 0.625: spikes in step 3, and in steps 2 and 4. The output currents are then
    # (0.25, 0.25), (0.5, 0), (0.75, 1.25) and (0.5, 0): 2 spikes and nothing left, 1 spike and half a threshold left.
    net = fully_connected(([[1.0, 1.0], [3.0, -1.0]], [0.0, 0.0]), ([[1.0, 0.5], [2.0, -0.5]], [1.0, 1.0]))
    values = thresholds(net, th.ones(1, 2), TAN.threshold)
    assert [value.tolist() for value in values] == [[2.0, 2.0], [4.0, 4.0]]
    spiking = convert_layers(net, values, Rate(4, initial=0.0))
    assert [layer.weight.tolist() for layer in spiking.layers] == [
        [[0.5, 0.5], [1.5, -0.5]],
        [[0.5, 0.25], [1.0, -0.25]],
    ]
    observation = th.tensor([[0.5, 0.25]])
    assert spiking.record(observation).populations[0].spikes[:, 0].tolist() == [[0, 0], [0, 1], [1, 0], [0, 1]]
    assert spiking(observation).tolist() == [[4 * 2.0 / 4, 4 * 1.5 / 4]]
    assert spiking.output_spikes(observation).tolist() == [[4 * 2 / 4, 4 * 1 / 4]]


@pytest.mark.parametrize("time_steps", [1, 7, 100])
def test_tans_method_number_by_number(time_steps):
    net, calibration, features = network(4, 9, 7, 3), states(200, 4), states(5, 4, seed=2)
    spiking = converted(net, calibration, "tan2021", time_steps)
    np.testing.assert_allclose(spiking(features), tan(net, calibration, features, time_steps), atol=1e-10)


def test_tans_method_has_their_constants():
    assert TAN.coding == Rate(500, reset="soft", initial=0.0, settling=0)
    assert TAN.threshold == Threshold(99.9, 1.0, per_neuron=False)


@pytest.mark.parametrize("percent", ["max", "99.9%", "95%"])
@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("images", [False, True])
def test_rate_coding_equals_spikingjellys_converter(percent, per_neuron, half, images):
    if images:
        net, draw = convolutional()
        calibration, features = draw(40), draw(4)
    else:
        net, calibration, features = network(4, 9, 7, 3), states(200, 4), states(9, 4, seed=2)
    # Silent neurons get no threshold of their own there, but 1e-6.
    assert all((output > 0.0).transpose(0, 1).flatten(1).any(1).all() for output in net.outputs(calibration))
    settings = {"mode": "Max" if percent == "max" else percent, "channel_wise": per_neuron}
    if half and per_neuron:
        settings["half_threshold"] = True
    elif half:
        settings["neuron_factory"] = lambda scale: sj.HalfThresholdIFNode(1.0)
    expected = spikingjelly(net, calibration, features, 24, **settings)
    spiking = converted(
        net, calibration, "rate", 24, threshold=percent, per_neuron=per_neuron, initial=0.5 if half else 0.0
    )
    # Its scales are float32; a single spike more or less would be 1/24 of a threshold.
    np.testing.assert_allclose(spiking(features), expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.floats(0.1, 10.0))
def test_robust_rates_are_the_accumulated_output_currents(seed, time_steps, size):
    net, features = network(3, 6, 4, seed=seed), size * states(4, 3, seed=seed)
    spiking = converted(net, features, "tan2021", time_steps)
    *_, last = spiking._layers(features)
    node = sj.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
    robust = (node(last.drive).sum(0) + node.v) * spiking.output_scale / time_steps
    np.testing.assert_allclose(spiking(features), robust, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_many_steps_give_the_q_values(name):
    net, features = network(4, 16, 12, 3), states(100, 4)
    steps = 4000 if METHODS[name].coding.latency(2) == METHODS[name].coding.time_steps else 14
    spiking = converted(net, features, name, steps, threshold="max")
    np.testing.assert_allclose(spiking(features), net(features), atol=5e-3)


@pytest.mark.parametrize("name", ["ternary", "few-spike"])
def test_digits_in_place_of_a_trained_torso(name):
    model = dqn(IMAGE, policy="CnnPolicy", net_arch=[])
    teacher, batch = load_dqn(model), observations(IMAGE, n=16)
    values = teacher.q_values(batch)[0]
    snn = convert(teacher, batch, method=name, time_steps=14, threshold="max")
    assert np.abs(snn.q_values(batch)[0] - values).max() < 1e-3 * values.std()
    np.testing.assert_array_equal(snn.predict(batch)[0], teacher.predict(batch)[0])


@pytest.mark.parametrize("bits", [1, 4, 10])
def test_few_spike_activations_are_rounded_to_bits(bits):
    net, features = network(4, 16, 12, 3), states(50, 4)
    values = thresholds(net, features, Threshold())
    carried = convert_layers(net, values, FewSpike(bits)).activations(features)
    activation = features
    for layer, threshold, own in zip(net.layers, values, carried, strict=False):
        exact = (layer(activation).relu() / threshold).numpy()
        rounded = np.minimum(np.round(exact * 2**bits) / 2**bits, 1.0 - 2.0**-bits)
        np.testing.assert_array_equal(own, rounded)
        activation = own * threshold


def test_the_residue_of_a_decision_enters_the_next_as_in_crpi():
    alpha, time_steps, net = 0.75, 6, network(3, 5, 4, 2)
    spiking = converted(net, states(50, 3), "residual", time_steps, alpha=alpha)
    layers = [(layer.weight.numpy(), layer.bias.numpy()) for layer in spiking.layers]
    begin = [np.full(5, 0.5), np.full(4, 0.5)]
    state = None
    for observation in states(8, 3, seed=5):
        sent = np.tile(observation.numpy(), (time_steps, 1))
        for index, (weight, bias) in enumerate(layers[:-1]):
            membrane, spikes = begin[index].copy(), np.zeros((time_steps, bias.size))
            for step in range(time_steps):
                membrane += weight @ sent[step] + bias
                spikes[step] = membrane >= 1.0
                membrane -= spikes[step]
            residue = np.maximum(membrane - begin[index], -spikes.sum(0))
            begin[index] = np.clip(alpha * residue, -0.5, 0.5) + 0.5
            sent = spikes
        expected = (sent.mean(0) @ layers[-1][0].T + layers[-1][1]) * spiking.output_scale.numpy()
        values, state = spiking.decide(observation[None], state)
        np.testing.assert_allclose(values[0], expected, atol=1e-12)
        for membrane, own in zip(state, begin, strict=True):
            np.testing.assert_allclose(membrane[0], own, atol=1e-12)


def test_without_a_share_of_the_residue_every_decision_is_a_rate_coded_one():
    net, features = network(4, 9, 7, 3), states(20, 4)
    values = thresholds(net, features, Threshold())
    rate, residual = (convert_layers(net, values, coding) for coding in (Rate(8), Residual(8, alpha=0.0)))
    first, state = residual.decide(features, None)
    second, _ = residual.decide(features, state)
    assert th.equal(first, rate(features))
    assert th.equal(second, rate(features))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_decision_leaves_can_be_given_to_the_next(name):
    net, features = network(4, 9, 7, 3), states(6, 4)
    spiking = converted(net, features, name, 8)
    first, state = spiking.decide(features, None)
    second, _ = spiking.decide(features, state)
    assert (name == "residual") == (len(state) > 0) == (not th.equal(first, second))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("images", [False, True])
def test_a_batch_is_decided_as_one_at_a_time(name, images):
    if images:
        net, draw = convolutional()
        features = draw(6)
    else:
        net, features = network(4, 9, 7, 3), states(6, 4)
    spiking = converted(net, features, name, 8)
    together, one_by_one = spiking(features), th.cat([spiking(row) for row in features.split(1)])
    np.testing.assert_allclose(together, one_by_one, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("limit", [1, 200, 1000])
def test_a_large_batch_in_parts_is_decided_as_a_whole(monkeypatch, name, limit):
    net, features = network(4, 9, 7, 3), states(23, 4)
    spiking = converted(net, features, name, 8)
    whole, state = spiking.decide(features, None)
    again, _ = spiking.decide(features, state)
    spikes = spiking.output_spikes(features)
    monkeypatch.setattr(converted_network, "MAX_VALUES", limit)
    assert len(spiking.parts(features)) > 1
    parts, state = spiking.decide(features, None)
    np.testing.assert_allclose(parts, whole, atol=1e-12)
    np.testing.assert_allclose(spiking.decide(features, state)[0], again, atol=1e-12)
    np.testing.assert_allclose(spiking.output_spikes(features), spikes, atol=1e-12)


@pytest.mark.parametrize("cls", CODINGS.values())
def test_no_observation_makes_no_decision(cls):
    net = network(4, 9, 3)
    spiking = convert_layers(net, thresholds(net, states(9, 4), Threshold()), cls(4))
    assert spiking(states(0, 4)).shape == (0, 3)
    assert spiking.output_spikes(states(0, 4)).shape == (0, 3)


def test_silent_and_saturated_neurons_do_no_harm():
    # Nothing of it is met while calibrating: the hidden layer is silent, and all the Q-values are negative.
    net = network(4, 9, 3)
    net.layers[0].bias -= 100.0
    net.layers[1].bias -= 100.0
    calibration, wild = states(50, 4), 1000.0 * states(50, 4, seed=2)
    for name in NAMES:
        spiking = converted(net, calibration, name)
        np.testing.assert_allclose(spiking(calibration), net(calibration), rtol=1e-6)
        assert th.isfinite(spiking(wild)).all()
        assert (spiking.output_spikes(calibration) == 0.0).all()


def test_all_actions_share_a_scale():
    # One for each action would change which is the best.
    net = fully_connected(([[1.0]], [0.0]), ([[1.0], [3.0]], [0.5, 0.0]))
    features = th.tensor([[0.125], [1.0]])
    spiking = converted(net, features, "ternary", 14, threshold="max")
    assert spiking(features).argmax(1).tolist() == [0, 1]
    assert spiking.output_spikes(features).argmax(1).tolist() == [0, 1]


def test_converting_does_not_change_the_dqn():
    net, features = network(4, 9, 7, 3), states(20, 4)
    before = copy.deepcopy(net)
    spiking = converted(net, features, "ternary")
    for parameter in spiking.parameters():
        parameter.zero_()
    assert all(th.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))


def test_recordings_count_every_spike_and_synapse_by_hand():
    # One hidden spike in steps 2 and 4, another in step 3, for two outputs: 3 spikes, 6 accumulates in one decision.
    net = fully_connected(([[1.0, 1.0], [3.0, -1.0]], [0.0, 0.0]), ([[1.0, 0.5], [2.0, -0.5]], [1.0, 1.0]))
    spiking = convert_layers(net, thresholds(net, th.ones(1, 2), TAN.threshold), Rate(4, initial=0.0))
    cost = cost_of(spiking.record(th.tensor([[0.5, 0.25]])))
    assert cost.firing_rates == {"hidden0": 3 / 8}
    assert (cost.spikes, cost.synops, cost.macs, cost.dense_macs) == (3, 6, 4, 8)


def test_spikes_of_minus_one_are_accumulated_too():
    # 0.5 in ternary digits is 1, -1, 1, -1: four spikes, and no multiplication but that of the observation.
    net = fully_connected(([[1.0]], [0.0]), ([[1.0], [2.0], [3.0]], [0.0, 0.0, 0.0]))
    spiking = convert_layers(net, [th.ones(1), th.ones(3)], Ternary(4))
    cost = cost_of(spiking.record(th.tensor([[0.5]])))
    assert (cost.spikes, cost.synops, cost.macs, cost.dense_macs) == (4, 12, 1, 4)
    assert cost.mean_firing_rate == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_recorded_spikes_are_those_that_decide(name):
    net, draw = convolutional()
    features = draw(5)
    spiking = converted(net, features, name, 8)
    recording = spiking.record(features)
    assert [population.name for population in recording.populations] == ["hidden0", "hidden1", "hidden2"]
    assert [synapses.name for synapses in recording.synapses] == ["hidden0", "hidden1", "hidden2", "output"]
    for population, activation in zip(recording.populations, spiking.activations(features), strict=True):
        assert population.spikes.shape == (8, *activation.shape)
        np.testing.assert_array_equal(spiking.coding.decode(population.spikes), activation)
    last = spiking.layers[-1](spiking.activations(features)[-1].flatten(1)) * spiking.output_scale
    np.testing.assert_allclose(spiking(features), last, atol=1e-12)


def test_settling_steps_are_left_out_of_the_q_values():
    net, features = network(4, 9, 7, 3), states(5, 4)
    values = thresholds(net, features, Threshold())
    settled = convert_layers(net, values, Rate(8, settling=3))
    plain = convert_layers(net, values, Rate(8))
    spikes = plain.record(features).populations[-1].spikes
    output = plain.layers[-1]
    expected = (output.weight @ spikes[3:].mean(0).T).T + output.bias
    np.testing.assert_allclose(settled(features), expected * plain.output_scale, atol=1e-12)


def test_a_policy_of_a_model_in_memory_needs_no_file():
    model = DQN("MlpPolicy", Random(), buffer_size=10, device="cpu", policy_kwargs={"net_arch": [8]})
    assert convert(model, observations()).predict(observations()[0])[0] in range(3)
