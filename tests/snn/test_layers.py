"""Layers against hand-computed steps and SpikingJelly's own layers."""

import pytest
import torch as th
from spikingjelly.activation_based import neuron as sj

from sb3_spiking.snn import Part, SpikingNetwork, SpikingOptions
from sb3_spiking.snn.convolutions import conv_layers, convolutions
from sb3_spiking.snn.execution.populations import record_neurons, run_neurons
from sb3_spiking.snn.layers import hidden_layer, output_layer
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.surrogates import Rect


def test_dynamic_neuron_by_hand():
    # c: 0.4, 0.6, 0.3; see the equations of Dynamic.
    node = NEURONS["dynamic"]().build(Rect())
    current = th.tensor([0.4, 0.4, 0.0], dtype=th.float64).reshape(3, 1, 1)
    spikes, margin = record_neurons(node, current)
    u1 = -0.172 * 0.4
    h2 = 0.4**2 - u1 + 0.6
    u2 = u1 - 0.172 * h2 - 0.529 * u1 + 0.132  # fires
    h3 = 0.021**2 - u2 + 0.3
    th.testing.assert_close(margin.flatten(), th.tensor([0.4, h2, h3], dtype=th.float64) - 0.5)
    assert spikes.flatten().tolist() == [0.0, 1.0, float(h3 >= 0.5)]
    assert th.equal(run_neurons(node, current), spikes)


def test_dynamic_neuron_starts_each_decision_at_rest():
    node = NEURONS["dynamic"]().build(Rect())
    current = th.randn(5, 3, 4)
    first = run_neurons(node, current)
    assert th.equal(run_neurons(node, current), first)
    assert all(isinstance(memory, float) for memory in node.memories())


@pytest.mark.parametrize("population", [1, 4])
def test_intra_connections_equal_spikingjellys(population):
    layer = output_layer(
        th.nn.Linear(6, 3 * population), 3, SpikingOptions(decoder_population=population, intra_connections=True)
    )
    theirs = sj.ILCCUBALIFNode(3, population)
    theirs.conn.load_state_dict(layer.intra.state_dict())
    inputs = (th.rand(5, 7, 6) < 0.5).float()
    with th.no_grad():
        # SpikingJelly's node writes into its input.
        assert th.equal(layer(inputs), theirs(layer.current(inputs).clone()))


def test_intra_connections_learn():
    network = SpikingNetwork(4, 3, [16], SpikingOptions(intra_connections=True, decoder="last"))
    network(th.randn(32, 4)).square().sum().backward()
    assert network.layers[-1].intra.weight.grad.abs().sum() > 0


def test_intra_connections_need_populations():
    with pytest.raises(ValueError, match="intra_connections=True needs output populations"):
        SpikingOptions(intra_connections=True, decoder_population=None)


def test_convolutions_equal_a_loop_over_the_steps():
    parts = [Part("", (2, 12, 12))]
    options = SpikingOptions(decoder_population=None, conv_arch=[[4, 3, 2], [6, 2, 1]], time_steps=4)
    network = SpikingNetwork(parts, 3, [8], options).double()
    images = th.rand(5, 2 * 12 * 12, dtype=th.float64)
    layers = [*network.encoder.layers, *network.layers]
    nodes = [sj.CUBALIFNode() for _ in layers]
    rates = 0.0
    with th.no_grad():
        for _ in range(4):
            x = images.unflatten(1, (2, 12, 12))
            for layer, node in zip(layers, nodes, strict=True):
                if isinstance(layer.synapses, th.nn.Linear):
                    x = x.flatten(1)
                x = node(layer.synapses(x))
            rates = rates + x / 4
        expected = rates @ network.decoder.weight.T + network.decoder.bias
        th.testing.assert_close(network(images), expected, rtol=0, atol=1e-12)


def test_first_convolution_is_computed_once_for_all_the_steps():
    network = SpikingNetwork([Part("", (2, 12, 12))], 3, [8], SpikingOptions(time_steps=6))
    rows = [[] for _ in (network.encoder.layers[0], network.layers[0])]
    for layer, seen in zip((network.encoder.layers[0], network.layers[0]), rows, strict=True):
        layer.synapses.register_forward_hook(lambda _module, args, _output, seen=seen: seen.append(args[0].shape[0]))
    network(th.rand(5, 2 * 12 * 12))
    assert rows == [[5], [30]]


def test_parts_are_encoded_side_by_side():
    parts = [Part("a", (3,)), Part("camera", (1, 6, 6)), Part("b", (2,))]
    network = SpikingNetwork(parts, 2, [8], SpikingOptions(encoder="direct", decoder_population=None))
    features = th.rand(4, 3 + 36 + 2)
    inputs = network.encoder(features).tensor()
    assert th.equal(inputs[0, :, :3], features[:, :3])
    assert th.equal(inputs[4, :, -2:], features[:, -2:])
    assert [population.name for population in network.record(features).populations] == ["camera_conv0", "hidden0"]


def test_vectors_side_by_side_stay_constant_and_are_multiplied_once():
    parts = [Part("a", (3,)), Part("b", (2,))]
    network = SpikingNetwork(parts, 2, [8], SpikingOptions(encoder="direct"))
    rows = []
    network.layers[0].synapses.register_forward_hook(lambda _module, args, _output: rows.append(args[0].shape[0]))
    network(th.rand(4, 5))
    assert rows == [4]


def test_membrane_norm_brings_currents_to_the_threshold_whatever_the_weights():
    options = SpikingOptions(membrane_norm="layer", neuron_kwargs={"threshold": 0.7})
    layer = hidden_layer("hidden0", th.nn.Linear(20, 64), options)
    with th.no_grad():
        layer.synapses.weight.mul_(100)
        current = layer.current(th.rand(1, 8, 20))
    th.testing.assert_close(current.mean(dim=-1), th.zeros(1, 8), rtol=0, atol=1e-5)
    th.testing.assert_close(current.std(dim=-1, correction=0), th.full((1, 8), 0.7), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("conv_arch", "shape", "message"),
    [
        ("deep", (3, 84, 84), "conv_arch='deep'.*'nature', 'small'"),
        ([], (3, 84, 84), r"conv_arch=\[\]"),
        ([[8, 3]], (3, 84, 84), r"\[channels, kernel size, stride\], not \[8, 3\]"),
        ([[8, 3, 0]], (3, 84, 84), "conv_arch=0"),
        ("nature", (3, 20, 20), "too deep for images of 20 x 20"),
    ],
)
def test_bad_convolutions_are_named(conv_arch, shape, message):
    with pytest.raises(ValueError, match=message):
        convolutions(conv_arch, shape)


def test_convolutions_fit_the_image():
    assert conv_layers(None, (4, 84, 84)) == [[32, 8, 4], [64, 4, 2], [64, 3, 1]]
    assert conv_layers(None, (4, 10, 10)) == [[16, 3, 1]]
    layers, shapes = convolutions(None, (4, 84, 84))
    assert shapes == [(32, 20, 20), (64, 9, 9), (64, 7, 7)]
    x = th.zeros(1, 4, 84, 84)
    for layer, shape in zip(layers, shapes, strict=True):
        x = layer(x)
        assert x.shape[1:] == shape
