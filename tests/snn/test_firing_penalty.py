"""The penalty on firing rates is a term of the loss, added where the gradient of the spikes passes."""

import pytest
import torch as th
from torch import nn

from sb3_spiking.snn import SpikingNetwork, SpikingOptions
from sb3_spiking.snn.inputs import Part

WEIGHT, TARGET = 3.0, 0.02


def pair(options, *sizes):
    """Return two networks with the same weights, the second one without penalty."""
    networks = []
    for weight in (WEIGHT, 0.0):
        th.manual_seed(0)
        penalty = {"firing_penalty": weight, "firing_target": TARGET}
        networks.append(SpikingNetwork(*sizes, SpikingOptions(**options, **penalty)))
    return networks


def gradients(network, loss):
    return th.autograd.grad(loss, list(network.parameters()))


@pytest.mark.parametrize("rows", [7, 900])  # 900 observations are otherwise decided in tiles
@pytest.mark.parametrize(
    ("options", "sizes", "layers"),
    [
        ({}, (5, 3, (40, 30)), 3),
        ({"encoder": "direct", "decoder_population": None, "membrane_norm": "layer"}, (5, 3, (40,)), 1),
        ({"intra_connections": True, "neuron": "plif"}, (5, 3, (40,)), 2),
        ({"precision": "bfloat16"}, (5, 3, (40, 30)), 3),
    ],
    ids=["popsan", "normalised", "lateral", "bfloat16"],
)
@pytest.mark.filterwarnings("ignore:precision='bfloat16' is slower")
def test_the_gradient_is_that_of_the_loss_with_the_penalty(options, sizes, layers, rows):
    penalised, plain = pair(options, *sizes)
    observations = th.randn(rows, 5, generator=th.Generator().manual_seed(1))
    spikes = []
    for layer in plain.layers:
        layer.register_forward_hook(lambda module, inputs, output: spikes.append(output))
    outputs = plain(observations)
    assert len(spikes) == layers
    excesses = [(each.mean() - TARGET).clamp(min=0.0) for each in spikes]
    assert max(excesses) > 0.02
    expected = gradients(plain, outputs.square().mean() + WEIGHT * sum(excess**2 for excess in excesses))
    own = penalised(observations)
    th.testing.assert_close(own, outputs, rtol=1e-5, atol=1e-5)
    for actual, wanted in zip(gradients(penalised, own.square().mean()), expected, strict=True):
        th.testing.assert_close(actual, wanted, rtol=1e-3, atol=1e-6)


def test_convolutions_are_penalised_too():
    options = {"encoder": "direct", "decoder_population": None, "membrane_norm": "layer", "conv_arch": "small"}
    penalised, plain = pair(options, [Part("", (4, 10, 10))], 3, (32,))
    images = th.rand(5, 400, generator=th.Generator().manual_seed(0))
    own, without = (gradients(network, network(images).sum()) for network in (penalised, plain))
    names = [name for name, _ in plain.named_parameters()]
    changed = {name for name, a, b in zip(names, own, without, strict=True) if not th.allclose(a, b)}
    assert {name.rpartition(".")[0] for name in changed} >= {"encoder.layers.0.synapses", "layers.0.synapses"}


def test_layers_below_the_target_learn_as_without_penalty():
    penalised, plain = pair({}, 5, 3, (40, 30))
    for network in (penalised, plain):
        for layer in network.layers:
            nn.init.constant_(layer.synapses.bias, -5.0)  # nothing fires
    observations = th.randn(20, 5)
    own, expected = (gradients(network, network._decode(observations).sum()) for network in (penalised, plain))
    assert all(map(th.equal, own, expected))


def test_decisions_are_those_without_penalty():
    penalised, plain = pair({}, 5, 3, (40, 30))
    observations = th.randn(20, 5)
    with th.no_grad():
        assert th.equal(penalised(observations), plain(observations))


def test_what_does_not_see_the_penalty_says_so():
    penalised, _ = pair({}, 5, 3, (40, 30))
    parameters = dict(penalised.named_parameters())

    def loss(parameters):
        return th.func.functional_call(penalised, parameters, (th.randn(4, 5),)).sum()

    with pytest.raises(RuntimeError, match="firing_penalty= adds to gradients what"):
        th.func.grad(loss)(parameters)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"firing_penalty": -1.0}, "firing_penalty=-1.0 must be at least 0"),
        ({"firing_penalty": float("nan")}, "firing_penalty=nan must be"),
        ({"firing_penalty": "much"}, "firing_penalty='much' must be"),
        ({"firing_penalty": 1.0, "firing_target": 1.5}, "firing_target=1.5 must"),
    ],
)
def test_other_values_are_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        SpikingOptions(**options)
