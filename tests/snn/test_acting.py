"""Deciding for a few observations gives what the modules give, with the parameters of this very moment."""

import copy
import gc
import pickle
import threading

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from sb3_spiking.snn import SpikingNetwork, SpikingOptions, acting, decoders, network_plan
from sb3_spiking.snn.current_norm import CurrentNorm
from sb3_spiking.snn.decoders import DECODERS
from sb3_spiking.snn.encoders import ENCODERS
from sb3_spiking.snn.execution import rounded_products
from sb3_spiking.snn.inputs import Part
from sb3_spiking.snn.layers import hidden_layer
from sb3_spiking.snn.neurons import NEURONS

NEAR = 1e-5
"""Membranes so near to the threshold may fall on either side of it: sums are taken in another order."""


def by_modules(network, features):
    """Return what the modules decide, one after the other."""
    with th.no_grad():
        return network.output(network._decode(features))


def by_kernels(network, features):
    with th.no_grad():
        decided = acting.decide(network, features)
        assert decided is not None
        return decided


def far_from_thresholds(network, features):
    """Return for which observations no membrane is near its threshold."""
    margins = [p.margin.abs().amin(dim=(0, 2)) for p in network.record(features).populations if p.margin is not None]
    return th.stack(margins).amin(dim=0) > NEAR


def assert_same_decisions(network, features, share=0.95):
    clear = far_from_thresholds(network, features)
    assert clear.double().mean() > share
    decided = th.cat([by_kernels(network, batch) for batch in features.split(4)])
    th.testing.assert_close(decided[clear], by_modules(network, features)[clear], rtol=1e-5, atol=1e-5)


def observations(rows, size, seed=0):
    """Return ordinary, extreme and tiny ones."""
    generator = th.Generator().manual_seed(seed)
    scale = 10.0 ** th.randint(-3, 4, (rows, 1), generator=generator)
    return scale * th.randn(rows, size, generator=generator)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(NEURONS)),
    st.sampled_from(sorted(ENCODERS)),
    st.sampled_from(sorted(DECODERS)),
    st.sampled_from([None, 1, 3, 10]),
    st.sampled_from(["hard", "soft"]),
    st.sampled_from(["none", "layer"]),
    st.lists(st.integers(1, 33), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(0, 2**16),
)
def test_every_combination_equals_its_modules(
    neuron, encoder, decoder, population, reset, norm, arch, time_steps, seed
):
    th.manual_seed(seed)
    options = SpikingOptions(
        time_steps=time_steps,
        neuron=neuron,
        neuron_kwargs=None if neuron == "dynamic" else {"reset": reset},
        encoder=encoder,
        encoder_population=4,
        decoder=decoder,
        decoder_population=population,
        membrane_norm=norm,
    )
    network = SpikingNetwork(3, 2, arch, options, nn.Tanh())
    for module in network.modules():
        if isinstance(module, CurrentNorm):  # as if trained
            with th.no_grad():
                module.weight.mul_(1 + 0.2 * th.rand_like(module.weight))
                module.bias.add_(0.1 * th.rand_like(module.bias))
    features = observations(4, 3, seed)
    if encoder == "poisson":
        state = th.get_rng_state()
        decided = by_kernels(network, features)
        th.set_rng_state(state)
        expected = by_modules(network, features)
        assert (decided - expected).abs().lt(1e-4).double().mean() > 0.7  # the same draws: few membranes are near
    else:
        clear = far_from_thresholds(network, features)
        decided = by_kernels(network, features)
        th.testing.assert_close(decided[clear], by_modules(network, features)[clear], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_ten_thousand_observations_of_a_popsan_actor():
    th.manual_seed(0)
    network = SpikingNetwork(17, 6, (256, 256), SpikingOptions(), nn.Tanh())
    assert_same_decisions(network, observations(10_000, 17))


def test_an_actor_decides_as_its_modules():
    th.manual_seed(0)
    assert_same_decisions(SpikingNetwork(17, 6, (64, 64), SpikingOptions(), nn.Tanh()), observations(400, 17))


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("neuron", ["cuba_lif", "if"])
def test_ties_at_the_threshold_spike_as_in_the_modules(neuron, reset):
    # Every number is a small multiple of a power of 2, so sums are exact in any order, and many equal the threshold.
    generator = th.Generator().manual_seed(0)
    options = SpikingOptions(time_steps=4, neuron=neuron, neuron_kwargs={"reset": reset}, encoder="direct")
    network = SpikingNetwork(8, 2, (32, 32), options)
    with th.no_grad():
        for parameter in network.parameters():
            parameter.copy_(th.randint(-4, 5, parameter.shape, generator=generator) / 8)
    features = th.randint(-4, 5, (300, 8), generator=generator) / 2
    margins = [record.margin for record in network.record(features).populations if record.margin is not None]
    assert sum((margin == 0).sum().item() for margin in margins) > 100
    decided = th.cat([by_kernels(network, batch) for batch in features.split(16)])
    th.testing.assert_close(decided, by_modules(network, features), rtol=0.0, atol=1e-6)


def test_observations_do_not_disturb_each_other():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(12, 5)
    one_by_one = th.cat([by_kernels(network, row[None]) for row in features])
    clear = far_from_thresholds(network, features)
    th.testing.assert_close(by_kernels(network, features)[clear], one_by_one[clear])


def test_a_decision_repeats_to_the_last_bit():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    assert th.equal(by_kernels(network, features), by_kernels(network, features))


@pytest.mark.parametrize("encoder", ["deterministic", "direct", "analog"])
@pytest.mark.parametrize("decoder", ["rate", "max"])
def test_many_observations_in_tiles_decide_as_one_by_one(encoder, decoder):
    network = SpikingNetwork(5, 3, (70, 33), SpikingOptions(encoder=encoder, decoder=decoder))
    features = observations(102, 5)
    one_by_one = th.cat([by_kernels(network, row[None]) for row in features])
    clear = far_from_thresholds(network, features)
    th.testing.assert_close(by_kernels(network, features)[clear], one_by_one[clear], rtol=1e-4, atol=1e-5)
    th.testing.assert_close(by_kernels(network, features)[clear], by_modules(network, features)[clear])


def double(tensor):
    return 2.0 * tensor


CHANGES = {
    "step of an optimiser": lambda p: th.optim.SGD([p], 1.0).step(setattr(p, "grad", -p.detach().clone()) or None),
    "in place": lambda p: p.detach().mul_(2.0),
    "behind the version counter": lambda p: p.data.mul_(2.0),
    "other memory": lambda p: setattr(p, "data", double(p.data)),
    "other strides": lambda p: setattr(p, "data", double(p.data).flip(0).contiguous().flip(0)),
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize(
    "where", ["encoder.mean", "layers.0.synapses.weight", "layers.1.synapses.bias", "decoder.weight"]
)
def test_the_parameters_of_this_moment_decide(how, where):
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    before = by_kernels(network, features)
    parameter = network.get_parameter(where)
    wanted = double(parameter.detach())
    CHANGES[how](parameter)
    th.testing.assert_close(parameter.detach(), wanted)
    after = by_kernels(network, features)
    assert not th.equal(before, after)
    th.testing.assert_close(after, by_modules(network, features))


def test_loaded_and_replaced_parameters_and_modules_decide():
    network, other = (SpikingNetwork(5, 3, (16, 16), SpikingOptions()) for _ in range(2))
    features = observations(3, 5)
    assert not th.allclose(by_kernels(network, features), by_kernels(other, features))
    network.load_state_dict(other.state_dict())
    th.testing.assert_close(by_kernels(network, features), by_kernels(other, features))
    network.layers[0].synapses.weight = nn.Parameter(th.zeros(16, 50))
    th.testing.assert_close(by_kernels(network, features), by_modules(network, features))
    network.layers[1] = hidden_layer("hidden1", nn.Linear(16, 16), SpikingOptions(neuron="if"))
    th.testing.assert_close(by_kernels(network, features), by_modules(network, features))
    network.decoder = copy.deepcopy(other.decoder)
    network.decoder.bias.data += 1.0
    th.testing.assert_close(by_kernels(network, features), by_modules(network, features))


@pytest.mark.parametrize("output", [nn.Identity(), nn.Tanh(), nn.Hardtanh(-0.01, 0.01)], ids=lambda o: type(o).__name__)
def test_a_replaced_output_decides(output):
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions(), nn.Softsign())
    features = observations(3, 5)
    before = by_kernels(network, features)
    network.output = output
    after = by_kernels(network, features)
    assert not th.allclose(before, after)
    th.testing.assert_close(after, by_modules(network, features))


def test_a_changed_neuron_decides():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    before = by_kernels(network, features)
    network.layers[0].neuron.v_threshold = 0.125
    after = by_kernels(network, features)
    assert not th.equal(before, after)
    th.testing.assert_close(after, by_modules(network, features))


@pytest.mark.parametrize(
    "watched", ["encoder", "layers.0", "layers.1.synapses", "layers.0.neuron", "decoder", "output"]
)
def test_whoever_watches_sees_every_decision(watched):
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    calls = []
    by_kernels(network, features)
    handle = network.get_submodule(watched).register_forward_hook(lambda *_: calls.append(1))
    with th.no_grad():
        watching = network(features)
    assert calls == [1]
    th.testing.assert_close(watching, by_modules(network, features))
    handle.remove()
    by_kernels(network, features)


PARTS = ["layers.0.synapses", "decoder", "encoder"]
PARAMETERS = {"layers.0.synapses": "weight", "decoder": "weight", "encoder": "mean"}
REPARAMETRIZATIONS = {
    "pruned": lambda module, name: prune.l1_unstructured(module, name, 0.5),
    "spectral norm": lambda module, name: spectral_norm(module.eval(), name, 3),
    "weight norm": lambda module, name: weight_norm(module, name),
    "old weight norm": lambda module, name: nn.utils.weight_norm(module, name),
    "parametrization": lambda module, name: register_parametrization(module, name, nn.Hardtanh(-0.1, 0.1)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", REPARAMETRIZATIONS.values(), ids=REPARAMETRIZATIONS)
@pytest.mark.parametrize("decided_before", [False, True])
def test_weights_that_are_computed_from_others_are_those_of_this_moment(part, how, decided_before):
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    if decided_before:
        by_kernels(network, features)
    module = network.get_submodule(part)
    how(module, PARAMETERS[part])
    for _ in range(2):
        with th.no_grad():
            decided = network(features)
            th.testing.assert_close(decided, by_modules(network, features))
            for parameter in module.parameters():
                parameter.mul_(1.5)  # a step of an optimiser
    with th.no_grad():
        assert not th.equal(network(features), decided)


def test_functional_call_decides_with_the_parameters_that_it_is_given():
    network, other = (SpikingNetwork(5, 3, (16, 16), SpikingOptions()) for _ in range(2))
    features = observations(3, 5)
    own = by_kernels(network, features)
    with th.no_grad():
        lent = th.func.functional_call(network, dict(other.named_parameters()), (features,))
        th.testing.assert_close(lent, by_modules(other, features))
        changed = {name: 2.0 * parameter for name, parameter in network.named_parameters()}
        th.testing.assert_close(
            th.func.functional_call(network, changed, (features,)), by_modules_with(network, changed)
        )
    assert th.equal(by_kernels(network, features), own)


def by_modules_with(network, parameters):
    twin = copy.deepcopy(network)
    twin.load_state_dict(parameters)
    return by_modules(twin, observations(3, 5))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization|torch.quantize_per_tensor")
def test_quantized_layers_decide():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    quantized = th.ao.quantization.quantize_dynamic(copy.deepcopy(network), {nn.Linear})
    features = observations(3, 5)
    with th.no_grad():
        decided = quantized(features)
        assert acting.decide(quantized, features) is None
        th.testing.assert_close(decided, quantized(features.repeat(40, 1))[:3])


SETTINGS = {
    "statistic": lambda network: setattr(network.decoder, "statistic", decoders.Last(0.5)),
    "precision": lambda network: setattr(network.layers[0], "product_dtype", th.bfloat16),
    "forward": lambda network: setattr(network.decoder, "forward", lambda spikes, _=None: spikes.sum(0)[:, :3]),
    "forward of a neuron": lambda network: setattr(network.layers[0].neuron, "forward", lambda current: current),
    "kept membranes": lambda network: setattr(network.layers[0].neuron, "store_v_seq", True),
}


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is slower")
@pytest.mark.parametrize("change", SETTINGS.values(), ids=SETTINGS)
def test_settings_that_change_after_the_first_decision_decide(change):
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    by_kernels(network, features)
    change(network)
    with th.no_grad():
        th.testing.assert_close(network(features), by_modules(network, features))


def test_hooks_of_all_modules_and_of_surrogates_are_called():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    by_kernels(network, features)
    seen = []
    handles = [th.nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))]
    with th.no_grad():
        network(features)
    assert set(network.modules()) - set(seen) <= {network.layers, network.get_submodule("layers")}
    handles[0].remove()
    seen.clear()
    network.layers[0].neuron.surrogate_function.register_forward_hook(lambda module, *_: seen.append(module))
    with th.no_grad():
        network(features)
    assert len(seen) == network.options.time_steps


class Logged(th.Tensor):
    """Notes what is done to it."""

    functions: list = []  # noqa: RUF012 (of the test)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.functions.append(function)
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.mark.parametrize("rows", [3, 100])
def test_subclasses_of_tensors_see_what_is_done_to_them(rows):
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(rows, 5)
    with th.no_grad():
        decided = network(features.as_subclass(Logged))
    th.testing.assert_close(decided.as_subclass(th.Tensor), by_modules(network, features))
    assert nn.functional.linear in Logged.functions


def test_a_default_device_is_no_observer():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    with th.device("cpu"):
        by_kernels(network, observations(3, 5))


class CountProducts(TorchFunctionMode):
    """Counts linear maps."""

    products = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.products += function is nn.functional.linear
        return function(*args, **(kwargs or {}))


def test_counters_of_torchs_operations_see_every_decision():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    features = observations(3, 5)
    with th.no_grad(), CountProducts() as function_mode:
        network(features)
    assert function_mode.products == 3
    with th.no_grad(), FlopCounterMode(display=False) as dispatch_mode:
        network(features)
    assert dispatch_mode.get_total_flops() == 2 * 15 * (50 * 16 + 16 * 16 + 16 * 30)


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is slower")
def test_weights_are_rounded_at_each_decision(monkeypatch):
    monkeypatch.setattr(rounded_products, "rounding", lambda factor: rounded_products.Rounding.OF_FACTORS)
    network = SpikingNetwork(5, 3, (64, 64), SpikingOptions(precision="bfloat16"))
    features = observations(40, 5)
    for seed in (1, 2):
        th.manual_seed(seed)
        for layer in network.layers:
            layer.synapses.weight.data.uniform_(-0.2, 0.3)
        assert_same_decisions(network, features, share=0.5)
    arrays = network_plan._PLANS[network].arrays
    for layer, (_, copied) in zip(network.layers, arrays.rounded, strict=True):
        weight = layer.synapses.weight.flatten()
        assert th.equal(th.from_numpy(copied), weight.bfloat16().float())
        assert not th.equal(th.from_numpy(copied), weight)


def test_lateral_connections_run_themselves():
    network = SpikingNetwork(5, 3, (16,), SpikingOptions(intra_connections=True))
    features = observations(3, 5)
    with th.no_grad():
        assert acting.decide(network, features) is None
        th.testing.assert_close(network(features), by_modules(network, features))


def test_large_batches_run_themselves_where_torch_has_several_threads(monkeypatch):
    network = SpikingNetwork(5, 3, (16,), SpikingOptions())
    with th.no_grad():
        assert acting.decide(network, observations(1000, 5)) is not None
        monkeypatch.setattr(th, "get_num_threads", lambda: 2)
        assert acting.decide(network, observations(1000, 5)) is None
        assert acting.decide(network, observations(1, 5)) is not None


def test_other_dtypes_gradients_and_empty_batches_run_themselves():
    network = SpikingNetwork(5, 3, (16,), SpikingOptions())
    assert acting.decide(network, observations(1, 5)) is None  # gradients are wanted
    with th.no_grad():
        assert acting.decide(network, observations(0, 5)) is None
        assert network(observations(0, 5)).shape == (0, 3)
        network.double()
        assert acting.decide(network, observations(1, 5)) is None
        assert acting.decide(network, observations(1, 5).double()) is None
        assert network(observations(1, 5).double()).dtype is th.float64


def test_what_does_not_fit_is_refused_as_the_modules_do():
    network = SpikingNetwork(5, 3, (16, 16), SpikingOptions())
    with th.no_grad():
        for shape in ((1, 4), (1, 6), (5,), (1, 1, 5)):
            assert acting.decide(network, th.zeros(shape)) is None
        with pytest.raises(RuntimeError):
            network(th.zeros(1, 4))
        network.layers[1].synapses = nn.Linear(17, 16)
        assert acting.decide(network, th.zeros(1, 5)) is None
        with pytest.raises(RuntimeError):
            network(th.zeros(1, 5))


@pytest.mark.parametrize("encoder", ["poisson", "direct"])
def test_an_encoder_of_other_time_steps_and_synapses_without_bias_run_themselves(encoder):
    network, other = (SpikingNetwork(5, 3, (16,), SpikingOptions(encoder=encoder, time_steps=t)) for t in (5, 9))
    with th.no_grad():
        network.layers[0].synapses = nn.Linear(network.encoder.features, 16, bias=False)
        assert acting.decide(network, observations(2, 5)) is None
        other.encoder = network.encoder
        assert network(observations(2, 5)).shape == other(observations(2, 5)).shape


def test_convolutions_hand_their_spikes_over():
    network = SpikingNetwork([Part("", (4, 10, 10))], 3, (32,), SpikingOptions(conv_arch="small"))
    features = th.rand(3, 400, generator=th.Generator().manual_seed(0))
    th.testing.assert_close(by_kernels(network, features), by_modules(network, features), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@pytest.mark.parametrize("bad", [th.nan, th.inf, -th.inf])
def test_nan_and_infinity_are_refused_by_dimension(encoder, bad):
    network = SpikingNetwork(5, 3, (16,), SpikingOptions(encoder=encoder))
    features = observations(3, 5)
    features[1, 2] = bad
    with th.no_grad(), pytest.raises(ValueError, match="dimension 2"):
        network(features)


def test_copies_have_parameters_of_their_own():
    network = SpikingNetwork(5, 3, (16,), SpikingOptions())
    features = observations(3, 5)
    expected = by_kernels(network, features)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert th.equal(by_kernels(other, features), expected)
        with th.no_grad():
            other.decoder.bias.add_(1.0)
        th.testing.assert_close(by_kernels(other, features), expected + 1.0)
    assert th.equal(by_kernels(network, features), expected)


def test_a_network_that_is_gone_leaves_nothing():
    network = SpikingNetwork(5, 3, (16,), SpikingOptions())
    by_kernels(network, observations(3, 5))
    gc.collect()
    known = len(network_plan._PLANS)
    del network
    gc.collect()
    assert len(network_plan._PLANS) == known - 1


def test_threads_decide_as_one():
    network = SpikingNetwork(17, 6, (64, 64), SpikingOptions())
    features = observations(64, 17)
    expected = [by_kernels(network, row[None]) for row in features]
    wrong = []

    def decide():
        for row, wanted in zip(features, expected, strict=True):
            if not th.equal(by_kernels(network, row[None]), wanted):
                wrong.append(row)

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nothing_is_compiled_after_construction():
    from sb3_spiking.snn.execution import acting_kernels

    networks = [
        SpikingNetwork(5, 3, arch, SpikingOptions(encoder=name)) for arch in ((8,), (8, 8)) for name in ENCODERS
    ]
    kernel = acting_kernels.network(NEURONS["cuba_lif"].equations_with("hard"), 2)
    assert len(kernel.signatures) == 1
    for network in networks:
        for rows in (1, 8):
            by_kernels(network, observations(rows, 5))
            by_kernels(network, th.from_numpy(np.asfortranarray(observations(rows, 5).numpy())))
    assert len(kernel.signatures) == 1
