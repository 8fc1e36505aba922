"""Acting on images decides as the modules do."""

import copy

import pytest
import torch as th
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from sb3_spiking.snn import SpikingNetwork, SpikingOptions, acting_images
from sb3_spiking.snn.acting_images import FEW_ROWS, MAX_ROWS, decide
from sb3_spiking.snn.current_norm import CurrentNorm
from sb3_spiking.snn.execution import sparse_convolutions
from sb3_spiking.snn.inputs import Part

IMAGE = (4, 36, 36)


def make(shape=IMAGE, *, net_arch=(24,), output=None, **options):
    th.manual_seed(0)
    given = {"encoder": "direct", "decoder_population": None, "membrane_norm": "layer", "time_steps": 4, **options}
    network = SpikingNetwork([Part("", shape)], 3, net_arch, SpikingOptions(**given), output)
    for module in network.modules():
        if isinstance(module, CurrentNorm):  # as if trained
            with th.no_grad():
                module.weight.mul_(1 + 0.2 * th.rand_like(module.weight))
                module.bias.add_(0.1 * th.rand_like(module.bias))
    return network


def features(network, count=1):
    return th.rand(count, network.size, generator=th.Generator().manual_seed(1))


def both(network, observations):
    """Return the decisions of the kernels and of the modules."""
    with th.no_grad():
        found = decide(network, observations)
    with th.enable_grad():
        return found, network(observations).detach()


@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"conv_arch": [[8, 5, 3], [64, 3, 2], [64, 2, 1]]},
        {"conv_arch": [[8, 5, 3], [12, 3, 2]], "membrane_norm": "none", "neuron_kwargs": {"threshold": 0.1}},
        {"decoder": "max", "net_arch": (24, 16)},
        {"decoder_population": 5, "output": nn.Tanh()},
        {"time_steps": 1},
    ],
    ids=["nature", "sparse", "unnormalised", "max", "populations", "one step"],
)
def test_images_are_decided_as_by_the_modules(count, options):
    network = make(**options)
    found, expected = both(network, features(network, count))
    th.testing.assert_close(found, expected)
    assert expected.std() > 0


def test_convolutions_of_a_decision_skip_what_does_not_change(monkeypatch):
    listed = []
    few_changes = sparse_convolutions.few_changes
    monkeypatch.setattr(
        sparse_convolutions, "few_changes", lambda *args: listed.append(few_changes(*args)) or listed[-1]
    )
    monkeypatch.setattr(th, "get_num_threads", lambda: 1)
    network = make()
    listed.clear()
    with th.no_grad():
        network(features(network))
    assert [changes is not None for changes in listed] == [False, True, True]


def test_forward_without_gradients_is_the_decision_of_the_kernels(monkeypatch):
    network = make()
    with th.no_grad():
        decided = decide(network, features(network))
        assert th.equal(network(features(network)), decided)
        monkeypatch.setattr(acting_images, "decide", lambda *_: decided + 1)
        assert th.equal(network(features(network)), decided + 1)


def test_parameters_changed_in_place_count_at_once():
    network = make()
    before, _ = both(network, features(network))
    for parameter in network.parameters():
        parameter.data.mul_(1.5)
    found, expected = both(network, features(network))
    th.testing.assert_close(found, expected)
    assert not th.equal(found, before)


def test_inputs_are_left_as_they_are():
    network = make()
    observations = features(network)
    before = observations.clone()
    state = copy.deepcopy(network.state_dict())
    both(network, observations)
    assert th.equal(observations, before)
    assert all(th.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("rows", [MAX_ROWS, MAX_ROWS + 1])
def test_large_batches_are_the_modules(rows):
    network = make(time_steps=1)
    with th.no_grad():
        assert (decide(network, features(network, rows)) is None) == (rows > MAX_ROWS)


def test_rows_of_a_product_are_independent_up_to_its_limit():
    network = make(time_steps=1)
    found, expected = both(network, features(network, FEW_ROWS))
    alone, _ = both(network, features(network, FEW_ROWS)[2:3])
    th.testing.assert_close(found, expected)
    assert th.equal(found[2:3], alone)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_an_error(value):
    network = make()
    observations = features(network)
    observations[0, 5] = value
    with th.no_grad(), pytest.raises(ValueError, match="NaN or infinity"):
        network(observations)


class OwnNorm(CurrentNorm):
    pass


def test_hooks_of_any_module_are_called():
    network = make(net_arch=(24, 16), decoder_population=5)
    for name, module in network.named_modules():
        if not name or isinstance(module, nn.ModuleList) or "surrogate" in name:
            continue
        calls = []
        handle = module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        with th.no_grad():
            network(features(network))
        handle.remove()
        assert len(calls) >= 1, name


@pytest.mark.parametrize(
    "change",
    [
        lambda network: network.double(),
        lambda network: network.bfloat16(),
        lambda network: setattr(network.layers[0], "current_norm", OwnNorm(24, 1.0)),
        lambda network: setattr(network.layers[0], "current_norm", nn.LayerNorm(24)),
        lambda network: setattr(network.encoder.layers[0].current_norm, "weight", None),
        lambda network: setattr(network.encoder.layers[1].synapses, "padding", (1, 1)),
        lambda network: setattr(network.layers[0], "product_dtype", th.bfloat16),
        lambda network: prune.random_unstructured(network.layers[0].synapses, "weight", 0.5),
        lambda network: setattr(network.layers[0].neuron, "store_v_seq", True),
    ],
    ids=["double", "bfloat16", "subclass", "layer norm", "no gain", "padding", "precision", "pruned", "stored"],
)
def test_other_modules_and_parameters_run_themselves(change):
    network = make()
    with th.no_grad():
        assert decide(network, features(network)) is not None
        change(network)
        assert decide(network, features(network)) is None


def test_intra_connections_run_themselves():
    network = make(decoder_population=5, intra_connections=True)
    with th.no_grad():
        assert decide(network, features(network)) is None


def test_gradients_and_counters_see_the_modules():
    network = make()
    assert network(features(network)).requires_grad
    with th.no_grad(), FlopCounterMode(display=False) as counter:
        network(features(network))
    assert counter.get_total_flops() > 0


def test_shapes_that_do_not_fit_raise_as_the_modules_do():
    network = make()
    network.layers[0].synapses = nn.Linear(7, 24)
    with th.no_grad(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        network(features(network))
