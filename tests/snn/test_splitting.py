"""A batch in tiles decides and learns as a whole batch."""

import pytest
import torch as th
from torch import nn

from sb3_spiking.snn import SpikingNetwork, SpikingOptions, networks
from sb3_spiking.snn.inputs import Part
from sb3_spiking.snn.splitting import ROWS, tiles

BATCH = 700


def make(time_steps=5, inputs=9, **options):
    th.manual_seed(0)
    network = SpikingNetwork(inputs, 2, (70, 66), SpikingOptions(time_steps=time_steps, **options), nn.Tanh())
    with th.no_grad():
        for layer in network.layers:
            for parameter in layer.synapses.parameters():
                # Sums of few multiples of 1/16 are exact in any order: no spike depends on how a product rounds.
                parameter.copy_(th.randint(-4, 6, parameter.shape) / 16)
    return network


def run(network, features, order=1):
    decided = network(features)
    learnt = list(network.parameters())
    gradients = th.autograd.grad(decided.square().sum(), learnt, create_graph=order == 2)
    if order == 2:
        gradients = th.autograd.grad(sum(gradient.square().sum() for gradient in gradients), learnt)
    return decided.detach(), gradients


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"neuron": "lif", "encoder": "analog"},
        {"encoder": "direct", "decoder_population": None, "decoder": "max"},
        {"intra_connections": True, "membrane_norm": "layer"},
    ],
    ids=["default", "analog", "direct", "intra"],
)
def test_decisions_and_gradients_are_those_of_the_whole_batch(options, order, monkeypatch):
    network, features = make(**options), 2 * th.randn(BATCH, 9)
    assert len(tiles(network, features)) == 3
    decided, gradients = run(network, features, order)
    monkeypatch.setattr(networks, "tiles", lambda network, features: (features,))
    whole, theirs = run(network, features, order)
    assert whole.std() > 0.01
    th.testing.assert_close(decided, whole, rtol=0, atol=1e-6)
    assert any(gradient.abs().sum() > 0 for gradient in theirs)
    for one, other in zip(gradients, theirs, strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


@pytest.mark.parametrize("time_steps", [1, 3, 5, 32, 2000])
@pytest.mark.parametrize("count", [0, 1, 2, 63, 255, 257, 300, 511, 4097])
def test_no_tile_is_small(time_steps, count):
    sizes = [len(tile) for tile in tiles(make(time_steps), th.zeros(count, 9))]
    assert sum(sizes) == count
    assert len(sizes) == 1 or (max(sizes) - 1) * time_steps <= 1.5 * ROWS
    assert len(sizes) == 1 or min(sizes) * time_steps >= ROWS / 3 or min(sizes) == 1


@pytest.mark.parametrize("part", ["encoder", "decoder", "layers.0", "layers.1.synapses", "layers.0.neuron"])
def test_a_hook_sees_the_whole_batch(part):
    network, seen = make(), []
    network.get_submodule(part).register_forward_hook(lambda *args: seen.append(args))
    network(th.randn(BATCH, 9))
    assert len(seen) == 1


class Centred(nn.Linear):
    """Synapses that look at the whole batch."""

    def forward(self, spikes):
        return super().forward(spikes - spikes.mean(dim=0))


def test_modules_that_may_look_at_the_whole_batch_see_it():
    network = make()
    network.layers[0].synapses = Centred(90, 70)
    assert len(tiles(network, th.randn(BATCH, 9))) == 1


def test_several_vectors_are_encoded_in_tiles_and_images_are_not():
    vectors = make(inputs=[Part("a", (4,)), Part("b", (5,))])
    assert len(tiles(vectors, th.randn(BATCH, 9))) == 3
    image = make(inputs=[Part("a", (3, 8, 8))], conv_arch=[[4, 3, 1]])
    assert len(tiles(image, th.rand(BATCH, 192))) == 1


def test_random_spikes_follow_the_seed():
    network, features = make(encoder="poisson"), th.randn(BATCH, 9)
    decisions = []
    for seed in (1, 1, 2):
        th.manual_seed(seed)
        decisions.append(network(features))
    assert th.equal(decisions[0], decisions[1])
    assert not th.equal(decisions[0], decisions[2])


def test_features_that_are_not_finite_are_named_in_any_tile():
    features = th.randn(BATCH, 9)
    features[-1, 4] = th.nan
    with pytest.raises(ValueError, match="dimension 4"):
        make()(features)
