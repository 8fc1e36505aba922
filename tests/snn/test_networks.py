import copy
import io
import math
import pickle

import cloudpickle
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import surrogate as sj
from spikingjelly.activation_based.base import MemoryModule

from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.encoders import ENCODERS
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.surrogates import SURROGATES, window
from tests.conftest import popsan


def states(network):
    """Return every memory of every spiking node."""
    return [value for module in network.modules() if isinstance(module, MemoryModule) for value in module.memories()]


def plain_popsan(network, observations):
    """PopSAN as its paper writes it: a loop over the steps, neurons of plain torch operations."""
    encoder, decoder = network.encoder, network.decoder
    activity = th.exp(-0.5 * ((observations[:, :, None] - encoder.mean) / encoder.std) ** 2).flatten(1)
    v_in = th.zeros_like(activity)
    current = [0.0] * len(network.layers)
    v = [0.0] * len(network.layers)
    s = [0.0] * len(network.layers)
    counts = 0.0
    for _ in range(network.options.time_steps):
        v_in = v_in + activity
        x = (v_in >= 0.999).to(activity)
        v_in = v_in - 0.999 * x
        for i, layer in enumerate(network.layers):
            current[i] = 0.5 * current[i] + x @ layer.synapses.weight.T + layer.synapses.bias
            v[i] = 0.75 * v[i] * (1 - s[i]) + current[i]
            s[i] = (v[i] >= 0.5).to(activity)
            x = s[i]
        counts = counts + x
    rates = (counts / network.options.time_steps).view(len(observations), decoder.out_dim, -1)
    return th.tanh((rates * decoder.weight).sum(-1) + decoder.bias)


def test_equals_the_papers_equations_step_by_step():
    network = popsan(5, 3, (32, 24)).double()
    observations = 2 * th.randn(64, 5, dtype=th.float64)
    with th.no_grad():
        th.testing.assert_close(network(observations), plain_popsan(network, observations), rtol=0, atol=1e-12)


@pytest.mark.parametrize("encoder", ["deterministic", "analog"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_observation_same_action_in_any_batch(encoder, precision):
    network = popsan(4, 2, (32, 32), SpikingOptions(encoder=encoder, precision=precision))
    observations = th.randn(256, 4)
    with th.no_grad():
        actions = network(observations)
        assert th.equal(actions, network(observations))
        for size in (1, 7):
            th.testing.assert_close(network(observations[:size]), actions[:size], rtol=0, atol=1e-5)


@pytest.mark.parametrize("neuron", sorted(NEURONS))
@pytest.mark.parametrize("watched", [True, False])
def test_no_state_is_left_after_any_forward(neuron, watched):
    network = popsan(4, 2, (16,), SpikingOptions(neuron=neuron))
    if watched:
        for layer in network.layers:
            layer.neuron.register_forward_hook(lambda *_: None)
    network(th.randn(3, 4)).sum().backward()
    network.record(th.randn(3, 4))
    assert states(network)
    assert all(isinstance(state, float) for state in states(network))


def test_copies_right_after_a_backward_pass():
    network = popsan(4, 2, (16,))
    observations = th.randn(3, 4)
    actions = network(observations)
    actions.sum().backward()
    for copied in (
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        cloudpickle.loads(cloudpickle.dumps(network)),
    ):
        assert th.equal(copied(observations), actions)


def test_several_passes_before_one_backward():
    network = popsan(4, 2, (16,))
    first, second = network(th.randn(3, 4)), network(th.randn(5, 4))
    (first.sum() + second.sum()).backward()
    first, _ = network(th.randn(3, 4)), network(th.randn(3, 4))
    first.sum().backward()


def test_every_parameter_receives_a_gradient():
    network = popsan(4, 2, (64, 64), SpikingOptions(neuron="plif"))
    network(th.randn(64, 4)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


def test_gradients_equal_those_of_spikingjellys_own_nodes_in_float64():
    network = popsan(4, 2, (32, 16)).double()
    observations = th.randn(16, 4, dtype=th.float64)

    def gradients():
        network.zero_grad()
        network(observations).square().sum().backward()
        return [parameter.grad.clone() for parameter in network.parameters()]

    fused = gradients()
    for layer in network.layers:  # A watched node runs itself.
        layer.neuron.register_forward_hook(lambda *_: None)
    th.testing.assert_close(fused, gradients(), rtol=1e-10, atol=1e-10)
    functional.reset_net(network)


def test_every_layer_fires_and_learns_at_initialisation():
    for seed in range(5):
        th.manual_seed(seed)
        recording = popsan(17, 6).record(th.randn(256, 17).clamp(-3, 3))
        for record in recording.populations[1:]:
            assert 0.02 < record.spikes.mean() < 0.6, record.name
            inside = (record.margin.abs() < record.surrogate_window).float().mean()
            assert inside > 0.1, record.name


def test_record_shows_the_decision_that_was_made():
    network = popsan(4, 2, (16, 8))
    observations = th.randn(6, 4)
    recording = network.record(observations)
    encoder, hidden0, hidden1, output = recording.populations
    assert [encoder.name, hidden0.name, hidden1.name, output.name] == ["encoder", "hidden0", "hidden1", "output"]
    assert hidden0.spikes.shape == (5, 6, 16)
    for population in (hidden0, hidden1, output):
        assert th.equal(population.spikes, (population.margin >= 0).float())
    synapses = {record.name: record.dense_macs for record in recording.synapses}
    assert synapses == {"hidden0": 40 * 16, "hidden1": 16 * 8, "output": 8 * 20, "decoder": 20}
    with th.no_grad():
        th.testing.assert_close(th.tanh(network.decoder(output.spikes)), network(observations))


def test_record_keeps_the_precision_of_the_network():
    network = popsan(4, 2, (16, 8)).double()
    observations = th.randn(6, 4, dtype=th.float64)
    with th.no_grad():
        spikes = network.record(observations).populations[-1].spikes
        assert th.equal(th.tanh(network.decoder(spikes)), network(observations))


def test_an_analog_input_costs_one_matrix_product():
    network = popsan(4, 2, (16,), SpikingOptions(encoder="analog", time_steps=8))
    rows = []
    network.layers[0].synapses.register_forward_hook(lambda _module, args, _output: rows.append(args[0].shape[0]))
    network(th.randn(3, 4))
    assert rows == [3]  # not 8 * 3


def test_bfloat16_products_keep_parameters_and_gradients_in_float32():
    th.manual_seed(1)
    exact = popsan(6, 2, (64, 64))
    rounded = popsan(6, 2, (64, 64), SpikingOptions(precision="bfloat16"))
    rounded.load_state_dict(exact.state_dict())
    observations = th.randn(128, 6)
    actions = rounded(observations)
    assert actions.dtype == th.float32
    assert (actions - exact(observations)).abs().mean() < 0.05
    actions.sum().backward()
    assert all(parameter.grad.dtype == th.float32 for parameter in rounded.parameters())


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    obs_dim=st.integers(1, 5),
    action_dim=st.integers(1, 4),
    batch=st.integers(1, 4),
    time_steps=st.integers(1, 9),
    populations=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    names=st.tuples(*(st.sampled_from(sorted(table)) for table in (NEURONS, SURROGATES, ENCODERS))),
    value=st.sampled_from([0.0, -3.0, 1e-30, 1e6]),
)
@settings(max_examples=80, deadline=None)
def test_any_option_gives_finite_actions_and_gradients(
    sizes, obs_dim, action_dim, batch, time_steps, populations, names, value
):
    options = SpikingOptions(
        time_steps=time_steps,
        encoder_population=populations[0],
        decoder_population=populations[1],
        neuron=names[0],
        surrogate=names[1],
        encoder=names[2],
    )
    network = popsan(obs_dim, action_dim, sizes, options)
    actions = network(th.full((batch, obs_dim), value))
    assert actions.shape == (batch, action_dim)
    assert (actions.abs() <= 1).all()
    actions.sum().backward()
    assert all(th.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_state_dict_holds_parameters_alone_and_loads_with_weights_only():
    network = popsan(3, 1, (8,))
    network(th.randn(2, 3)).sum().backward()
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}
    file = io.BytesIO()
    th.save(network.state_dict(), file)
    file.seek(0)
    other = popsan(3, 1, (8,))
    other.load_state_dict(th.load(file, weights_only=True))
    observations = th.randn(2, 3)
    assert th.equal(network(observations), other(observations))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"time_steps": 0}, "time_steps=0"),
        ({"time_steps": 2.0}, "time_steps=2.0"),
        ({"time_steps": True}, "time_steps=True"),
        ({"encoder_population": 0}, "encoder_population=0"),
        ({"decoder_population": -1}, "decoder_population=-1"),
        (
            {"neuron": "hodgkin"},
            "neuron='hodgkin' is unknown; choose one of: 'cuba_lif', 'lif', 'plif', 'if', 'dynamic'",
        ),
        ({"neuron": None}, "neuron=None"),
        ({"surrogate": "relu"}, "surrogate='relu'.*'rect', 'triangle', 'atan', 'sigmoid'"),
        ({"encoder": "latency"}, "encoder='latency'.*'deterministic', 'rounded', 'poisson', 'analog', 'direct'"),
        ({"precision": "float8"}, "precision='float8'.*'float32', 'bfloat16'"),
        ({"neuron_kwargs": {"threshold": 0.0}}, "threshold=0.0"),
        ({"neuron_kwargs": {"threshold": math.nan}}, "threshold=nan"),
        ({"neuron_kwargs": {"threshold": math.inf}}, "threshold=inf"),
        ({"neuron_kwargs": {"reset": "none"}}, "reset='none'.*'hard', 'soft'"),
        ({"neuron_kwargs": {"membrane_decay": 1.0}}, "membrane_decay=1.0"),
        ({"neuron": "lif", "neuron_kwargs": {"membrane_decay": 0.0}}, "membrane_decay=0.0"),
        ({"neuron": "lif", "neuron_kwargs": {"current_decay": 0.5}}, "no 'current_decay'; Lif takes: 'threshold'"),
        ({"surrogate_kwargs": {"width": 0.0}}, "surrogate width=0.0"),
        ({"surrogate_kwargs": {"slope": 2.0}}, "no 'slope'; Rect takes: 'width'"),
        ({"surrogate": "atan", "surrogate_kwargs": {"slope": -1.0}}, "surrogate slope=-1.0"),
    ],
)
def test_bad_options_are_named_before_any_work(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SpikingOptions(**kwargs)


@pytest.mark.parametrize("net_arch", [[], [0], [8, -1], ["8"], 8, None, [8.0]])
def test_bad_hidden_sizes_are_named(net_arch):
    with pytest.raises(ValueError, match="net_arch"):
        popsan(3, 1, net_arch)


@pytest.mark.parametrize(("function", "reach"), [(sj.Erf(alpha=2.0), 0.4163), (sj.LeakyKReLU(k=1.0, leak=0.0), 10.0)])
def test_somebody_elses_surrogate_has_a_window_too(function, reach):
    # The gradient of Erf is a Gaussian, exp(-(2 x)^2), at half of its peak where 2 x = sqrt(ln 2).
    assert window(function) == pytest.approx(reach, abs=1e-3)


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_surrogate_window_is_where_the_gradient_ends_or_has_halved(name):
    function = SURROGATES[name]().build()
    reach = window(function)

    def slope(distance):
        x = th.tensor(distance, dtype=th.float64, requires_grad=True)
        function(x).backward()
        return x.grad.item()

    peak = slope(0.0)
    if name in ("rect", "triangle"):
        assert slope(0.99 * reach) > 0
        assert slope(1.01 * reach) == 0
    else:
        assert slope(reach) == pytest.approx(peak / 2)


def test_surrogates_are_bumps_of_area_one():
    x = th.linspace(-200, 200, 400_001, dtype=th.float64, requires_grad=True)
    for name, surrogate in SURROGATES.items():
        (slope,) = th.autograd.grad(surrogate().build()(x).sum(), x)
        assert th.trapezoid(slope, x.detach()).item() == pytest.approx(1.0, abs=5e-3), name
