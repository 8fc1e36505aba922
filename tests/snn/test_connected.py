"""A fully connected layer in one kernel is torch's product and SpikingJelly's neurons, derivatives included."""

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.encoders import PoissonEncoder
from sb3_spiking.snn.execution import autograd, rounded_products
from sb3_spiking.snn.execution import sparse_products as products
from sb3_spiking.snn.execution.costs import Costs
from sb3_spiking.snn.execution.rounded_products import Rounding, reads_rounded
from sb3_spiking.snn.layers import hidden_layer
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.signal import Signal
from sb3_spiking.snn.straight_through import straight_through
from sb3_spiking.snn.surrogates import SURROGATES
from tests.snn.test_kernels import resets_of


def make_layer(inputs, neurons, neuron="cuba_lif", surrogate="rect", reset="hard"):
    kwargs = {"reset": reset} if reset in resets_of(neuron) and reset else {}
    options = SpikingOptions(neuron=neuron, neuron_kwargs=kwargs, surrogate=surrogate)
    layer = hidden_layer("hidden0", nn.Linear(inputs, neurons), options)
    with th.no_grad():
        # Sums of few multiples of 1/16 are exact in any order: no spike depends on how a product rounds.
        for parameter in (layer.synapses.weight, layer.synapses.bias):
            parameter.copy_(th.randint(-8, 9, parameter.shape) / 16)
    return layer


def step_by_step(layer, inputs):
    """Torch's product, and SpikingJelly's own loop."""
    return step_by_step_current(layer, layer.synapses(inputs))


def step_by_step_current(layer, current):
    layer.neuron.reset()
    spikes = layer.neuron(current)
    layer.neuron.reset()
    return spikes


def gradients(execute, layer, inputs, grad):
    spikes = execute(inputs)
    return spikes.detach(), th.autograd.grad(spikes, [inputs, *layer.parameters()], grad)


ALL = pytest.mark.parametrize(
    ("neuron", "surrogate", "reset"),
    [(n, s, r) for n in NEURONS for s in SURROGATES for r in resets_of(n)],
)
TYPES = pytest.mark.parametrize(("dtype", "tolerance"), [(th.float32, 1e-5), (th.float64, 1e-10)])


def compare(layer, inputs, tolerance):
    grad = th.randn(*inputs.shape[:2], layer.synapses.out_features, dtype=inputs.dtype)
    inputs = inputs.requires_grad_()
    spikes, own = gradients(layer, layer, inputs, grad)
    expected, theirs = gradients(lambda x: step_by_step(layer, x), layer, inputs, grad)
    assert th.equal(spikes, expected)
    with th.no_grad():
        assert th.equal(layer(inputs), expected)
    for a, b in zip(own, theirs, strict=True):
        # Relative to the largest: a sum whose terms cancel has no relative error of its own.
        scale = b.abs().max().item() if b.numel() > 0 else 0.0
        th.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * scale)


@ALL
@TYPES
def test_spikes_and_gradients_equal_torchs_and_spikingjellys(neuron, surrogate, reset, dtype, tolerance):
    layer = make_layer(70, 66, neuron, surrogate, reset).to(dtype)
    for batch in (9, 110):
        compare(layer, (th.rand(5, batch, 70) < 0.1).to(dtype), tolerance)


def test_large_batches_of_few_spikes_skip_the_silent_inputs(monkeypatch):
    listed = []
    few_spikes = products.few_spikes
    monkeypatch.setattr(products, "few_spikes", lambda *args: listed.append(few_spikes(*args)) or listed[-1])
    known = Costs(dense=0.03, rounded=0.03, spike=0.1, gradient=0.1, look=0.06, entry=0.1, transposition=2.0)
    monkeypatch.setattr(products, "costs", lambda: known)
    layer = make_layer(70, 66)
    for batch, density in ((110, 0.1), (110, 0.3), (9, 0.1)):
        layer((th.rand(5, batch, 70) < density).float())
    assert [spikes is not None for spikes in listed] == [True, False, False]


@given(
    time_steps=st.integers(1, 7),
    batch=st.sampled_from([0, 1, 2, 110]),
    inputs=st.sampled_from([1, 63, 64, 65, 170]),
    neurons=st.sampled_from([1, 60, 64, 65, 513]),
    density=st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    dtype=st.sampled_from([th.float32, th.float64]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_and_density(time_steps, batch, inputs, neurons, density, dtype, seed):
    th.manual_seed(seed)
    layer = make_layer(inputs, neurons).to(dtype)
    spikes = (th.rand(time_steps, batch, inputs) < density).to(dtype)
    compare(layer, spikes, 1e-5 if dtype == th.float32 else 1e-10)


def test_inputs_need_not_be_spikes():
    compare(make_layer(20, 30), th.randint(-4, 5, (5, 3, 20)) / 4, 1e-5)


def test_inputs_in_any_memory_order():
    layer = make_layer(20, 30)
    inputs = (th.rand(3, 5, 20) < 0.5).float()
    compare(layer, inputs.transpose(0, 1), 1e-5)


@ALL
def test_second_derivatives_equal_those_of_spikingjellys_nodes(neuron, surrogate, reset):
    layer = make_layer(6, 8, neuron, surrogate, reset).double()
    inputs = th.rand(4, 3, 6, dtype=th.float64).requires_grad_()
    grad = th.randn(4, 3, 8, dtype=th.float64, requires_grad=True)

    def second(execute):
        learnt = [inputs, *layer.parameters()]
        first = th.autograd.grad(execute(inputs), learnt, grad, create_graph=True)
        curvature = sum(gradient.square().sum() for gradient in first)
        return th.autograd.grad(curvature, [*learnt, grad], allow_unused=True, materialize_grads=True)

    fused, own = second(layer), second(lambda x: step_by_step(layer, x))
    assert fused[-1].abs().sum() > 0
    th.testing.assert_close(fused, own, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("batch", [3, 110])
def test_straight_through_gradient_is_summed_over_the_steps(order, batch):
    layer = make_layer(70, 66).double()
    activity = 0.2 * th.rand(batch, 70, dtype=th.float64)
    activity.requires_grad_()
    drawn = th.bernoulli(activity.detach().expand(5, batch, 70))
    direction = th.randn(5, batch, 66, dtype=th.float64)

    def derivative(inputs):
        gradient = th.autograd.grad(layer(inputs), activity, direction, create_graph=order == 2)
        return gradient if order == 1 else th.autograd.grad(gradient[0].square().sum(), [*layer.parameters()])

    # As tensors, the gradients of the steps go one by one.
    signal, steps = Signal(drawn, 5, activity), straight_through(activity, drawn)
    th.testing.assert_close(derivative(signal), derivative(steps), rtol=1e-12, atol=1e-12)


def test_spikes_whose_gradient_somebody_looks_at_receive_it():
    activity = th.rand(3, 6).requires_grad_()
    spikes = straight_through(activity, th.ones(5, 3, 6))
    spikes.retain_grad()
    make_layer(6, 8)(spikes).sum().backward()
    th.testing.assert_close(spikes.grad.sum(dim=0), activity.grad)


def test_encoders_hand_over_their_activity():
    encoder = PoissonEncoder(3)
    signal = encoder(th.randn(2, 3))
    assert signal.activity.shape == (2, encoder.features)
    assert signal.activity.requires_grad
    assert not signal.values.requires_grad


def test_a_graph_can_be_used_twice():
    layer = make_layer(20, 30)
    spikes = layer((th.rand(5, 3, 20) < 0.5).float())
    first, second = (th.autograd.grad(spikes.sum(), list(layer.parameters()), retain_graph=True) for _ in range(2))
    assert all(map(th.equal, first, second))


@pytest.mark.parametrize("frozen", [["weight"], ["bias"], ["weight", "bias"]])
def test_frozen_parameters_receive_nothing(frozen):
    layer = make_layer(20, 30)
    for name in frozen:
        getattr(layer.synapses, name).requires_grad_(False)
    inputs = (th.rand(5, 3, 20) < 0.5).float().requires_grad_()
    layer(inputs).sum().backward()
    assert inputs.grad.abs().sum() > 0
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize("part", ["synapses", "neuron", "current_norm"])
def test_watched_parts_run_themselves(part):
    layer = make_layer(20, 30)
    inputs = (th.rand(5, 3, 20) < 0.5).float()
    unwatched = layer(inputs)
    seen = []
    getattr(layer, part).register_forward_hook(lambda *args: seen.append(args))
    assert th.equal(layer(inputs), unwatched)
    assert len(seen) == 1


WAYS = [
    pytest.param(way, marks=pytest.mark.skipif(way is Rounding.IN_FLOAT32 and not reads_rounded(), reason="no AMX"))
    for way in Rounding
]


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is slower")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("straight", [False, True])
@pytest.mark.parametrize(("batch", "inputs"), [(9, 70), (9, 7), (110, 70)])
def test_bfloat16_rounds_the_products_and_nothing_else(batch, inputs, straight, way, monkeypatch):
    monkeypatch.setattr(rounded_products, "rounding", lambda factor: way)
    layer = hidden_layer("hidden0", nn.Linear(inputs, 66), SpikingOptions(precision="bfloat16"))
    with th.no_grad():
        # Sums of multiples of 2^-12 are exact in any order; most of these weights have more bits than bfloat16.
        layer.synapses.weight.copy_(th.randint(-4096, 4096, layer.synapses.weight.shape) / 2**12)
    activity, spikes, grad = th.rand(batch, inputs), (th.rand(5, batch, inputs) < 0.1).float(), th.randn(5, batch, 66)

    def by_torch(given):
        given = Signal.of(given).tensor()
        product = nn.functional.linear(given, layer.synapses.weight.bfloat16().float())
        if way is Rounding.BY_CASTS and products.few_spikes(spikes.flatten(0, 1), 66, th.bfloat16) is None:
            product = product.bfloat16().float()
        return step_by_step_current(layer, product + layer.synapses.bias)

    def run(execute):
        learnt = activity.clone().requires_grad_() if straight else spikes.clone().requires_grad_()
        fired = execute(Signal(spikes, 5, learnt) if straight else learnt)
        return fired.detach(), th.autograd.grad(fired, [learnt, *layer.parameters()], grad)

    (fired, own), (expected, theirs) = run(layer), run(by_torch)
    assert th.equal(fired, expected)
    for one, other in zip(own, theirs, strict=True):
        # Sums of five steps, or of rows, are rounded once or at each step: eight bits.
        th.testing.assert_close(one, other, rtol=0.02, atol=0.02 * other.abs().max().item())
    assert th.equal(layer.record(spikes).spikes, expected)
    assert not th.equal(
        hidden_layer("hidden0", layer.synapses, SpikingOptions()).current(spikes), layer.current(spikes)
    )


def test_parametrized_weights_run_themselves():
    layer = make_layer(20, 30)
    inputs = (th.rand(5, 3, 20) < 0.5).float()
    weight_norm(layer.synapses)
    layer(inputs).sum().backward()
    assert layer.synapses.parametrizations.weight.original0.grad.abs().sum() > 0


def test_no_bias_and_half_precision_run_themselves():
    layer = make_layer(20, 30)
    layer.synapses.bias = None
    assert layer((th.rand(5, 3, 20) < 0.5).float()).shape == (5, 3, 30)
    assert make_layer(20, 30).bfloat16()((th.rand(5, 3, 20) < 0.5).bfloat16()).dtype == th.bfloat16


def test_the_kernel_is_what_runs(monkeypatch):
    calls = []
    fused = autograd.run_layer
    monkeypatch.setattr(autograd, "run_layer", lambda *args: calls.append(args) or fused(*args))
    make_layer(20, 30)((th.rand(5, 3, 20) < 0.5).float())
    assert len(calls) == 1


@pytest.mark.parametrize("inputs", [7, 300])
@pytest.mark.parametrize("density", [0.1, 0.3])
def test_recorded_and_watched_layers_show_the_same_spikes(inputs, density):
    # Currents that round: all of them must round alike. A last bit is seldom a spike, so they are compared as well.
    layer = hidden_layer("hidden0", nn.Linear(inputs, 300), SpikingOptions())
    spikes = (th.rand(5, 200, inputs) < density).float()
    fused, recorded = layer(spikes), layer.record(spikes).spikes
    layer.neuron.register_forward_hook(lambda *_: None)
    assert th.equal(recorded, fused)
    assert th.equal(layer(spikes), fused)
    product = th.empty(5, 200, 300)
    products.product_into(product, spikes, layer.synapses.weight)
    assert th.equal(layer.current(spikes), product + layer.synapses.bias)
    th.testing.assert_close(layer.current(spikes), layer.synapses(spikes), rtol=0, atol=1e-5)
