"""The fused kernels are another execution of SpikingJelly's neurons, never other neurons."""

import pytest
import torch as th
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron as sj
from spikingjelly.activation_based import surrogate as sj_surrogate

from sb3_spiking.snn.execution.choose import Way, choose_neurons
from sb3_spiking.snn.execution.populations import record_neurons, run_neurons
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.surrogates import SURROGATES


def resets_of(neuron):
    """Return the resets between which a neuron has a choice."""
    fields = NEURONS[neuron].__dataclass_fields__
    return ("hard", "soft") if "reset" in fields else (None,)


ALL = pytest.mark.parametrize(
    ("neuron", "surrogate", "reset"),
    [(n, s, r) for n in NEURONS for s in SURROGATES for r in resets_of(n)],
)


def make(neuron, reset, **kwargs):
    """Return the neuron; some have a reset of their own."""
    return NEURONS[neuron](**kwargs, **({"reset": reset} if reset in resets_of(neuron) and reset else {}))


def run(execute, node, current, grad):
    """Return spikes, the gradient of the current and the gradients of the node's parameters."""
    current = current.clone().requires_grad_()
    node.zero_grad()
    spikes = execute(current)
    spikes.backward(grad)
    return spikes.detach(), current.grad, [parameter.grad.clone() for parameter in node.parameters()]


def by_spikingjelly(node):
    """Run SpikingJelly's own loop, from rest to rest."""

    def execute(current):
        node.reset()
        spikes = node(current)
        node.reset()
        return spikes

    return execute


def compare(node, current, grad, tolerance):
    fused = run(lambda x: run_neurons(node, x), node, current, grad)
    own = run(by_spikingjelly(node), node, current, grad)
    assert th.equal(fused[0], own[0])
    th.testing.assert_close(fused[1], own[1], rtol=tolerance, atol=tolerance)
    # A learnt leak collects one term per neuron and step.
    th.testing.assert_close(fused[2], own[2], rtol=10 * tolerance, atol=10 * tolerance)


@ALL
def test_spikes_and_gradients_equal_spikingjellys_in_float64(neuron, surrogate, reset):
    node = make(neuron, reset).build(SURROGATES[surrogate]()).double()
    current, grad = th.randn(2, 7, 5, 33, dtype=th.float64)
    compare(node, current, grad, 1e-12)
    assert choose_neurons(node, current).way is Way.NEURONS


@ALL
def test_spikes_and_gradients_equal_spikingjellys_in_float32(neuron, surrogate, reset):
    node = make(neuron, reset, threshold=0.7).build(SURROGATES[surrogate]())
    compare(node, *th.randn(2, 6, 4, 40), 1e-5)


@given(
    time_steps=st.integers(1, 12),
    batch=st.integers(1, 5),
    features=st.sampled_from([1, 2, 31, 256, 511, 512, 513, 1025]),
    neuron=st.sampled_from(sorted(NEURONS)),
    reset=st.sampled_from(["hard", "soft"]),
    scale=st.sampled_from([0.0, 1e-30, 0.3, 1.0, 30.0, 1e30]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_any_shape_and_scale(time_steps, batch, features, neuron, reset, scale, seed):
    # A second-order membrane is squared: beyond 1e19 it is infinite, and SpikingJelly's reset, a product, is NaN.
    assume(neuron != "dynamic" or scale < 1e19)
    th.manual_seed(seed)
    node = make(neuron, reset).build(SURROGATES["rect"]())
    current = scale * th.randn(time_steps, batch, features)
    assert th.equal(run_neurons(node, current), by_spikingjelly(node)(current).detach())


@pytest.mark.parametrize("decay", [0.1, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("neuron", ["lif", "plif"])
def test_rounding_of_decays_that_are_no_power_of_two(neuron, decay):
    # 1 - 1/tau and v - v/tau differ in the last bit, which is a spike at the threshold.
    node = NEURONS[neuron](membrane_decay=decay).build(SURROGATES["rect"]())
    current = th.randint(-4, 9, (40, 8, 64)).float() / 8
    assert th.equal(run_neurons(node, current), by_spikingjelly(node)(current).detach())


@pytest.mark.parametrize("neuron", sorted(NEURONS))
def test_membrane_at_the_threshold_fires_in_both(neuron):
    node = NEURONS[neuron](threshold=0.5).build(SURROGATES["rect"]())
    current = th.tensor([[[0.5, 0.25, 0.5 + 2**-25, 0.49999997]]])
    spikes = run_neurons(node, current)
    assert th.equal(spikes, by_spikingjelly(node)(current).detach())
    assert spikes[0, 0, 0] == 1.0
    assert spikes[0, 0, 3] == 0.0


def test_cuba_lif_by_hand():
    # c: 0.4, 0.6, 0.7, 0.35; h: 0.4, 0.9 (fires), 0.7 (fires), 0.35
    node = NEURONS["cuba_lif"]().build(SURROGATES["rect"]())
    current = th.tensor([0.4, 0.4, 0.4, 0.0]).reshape(4, 1, 1).requires_grad_()
    spikes, margin = record_neurons(node, current)
    assert spikes.flatten().tolist() == [0, 1, 1, 0]
    th.testing.assert_close(margin.flatten(), th.tensor([0.4, 0.9, 0.7, 0.35]) - 0.5)
    run_neurons(node, current)[3].sum().backward()
    # s3 <- h3 <- c3 and, all of the window open, through three resets:
    # dh3 = dx3 + 0.5 dx2 + ... + 0.75 (dv2), dv2 = (1 - s2) dh2 - h2 dh2 = -0.7 dh2, and so on.
    dh0 = th.tensor([1.0, 0, 0, 0])
    dh1 = th.tensor([0.5, 1.0, 0, 0]) + 0.75 * (1 - 0.4) * dh0
    dh2 = th.tensor([0.25, 0.5, 1.0, 0]) + 0.75 * (0 - 0.9) * dh1
    dh3 = th.tensor([0.125, 0.25, 0.5, 1.0]) + 0.75 * (0 - 0.7) * dh2
    th.testing.assert_close(current.grad.flatten(), dh3)


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize("detach", [True, False])
def test_detached_reset(surrogate, detach):
    node = NEURONS["cuba_lif"]().build(SURROGATES[surrogate]())
    node.detach_reset = detach
    compare(node, *th.randn(2, 6, 4, 40), 1e-5)


def test_nothing_needs_gradients_under_no_grad():
    node = NEURONS["plif"]().build(SURROGATES["rect"]())
    with th.no_grad():
        spikes = run_neurons(node, th.randn(5, 3, 4, requires_grad=True))
    assert not spikes.requires_grad


def test_non_contiguous_and_expanded_currents():
    node = NEURONS["cuba_lif"]().build(SURROGATES["rect"]())
    transposed = th.randn(4, 5, 6).transpose(0, 1)
    expanded = th.randn(1, 3, 6).expand(5, 3, 6)
    for current in (transposed, expanded):
        assert th.equal(run_neurons(node, current), by_spikingjelly(node)(current).detach())


@ALL
def test_a_current_that_is_the_same_at_each_step_is_given_once(neuron, surrogate, reset):
    node = make(neuron, reset).build(SURROGATES[surrogate]()).double()
    current, grad = th.randn(1, 5, 33, dtype=th.float64), th.randn(7, 5, 33, dtype=th.float64)
    fused = run(lambda x: run_neurons(node, x, 7), node, current, grad)
    own = run(lambda x: by_spikingjelly(node)(x.expand(7, -1, -1)), node, current, grad)
    assert th.equal(fused[0], own[0])
    th.testing.assert_close(fused[1:], own[1:], rtol=1e-10, atol=1e-10)
    with th.no_grad():
        assert th.equal(run_neurons(node, current, 7), own[0])


def test_second_derivatives_of_a_current_that_is_given_once():
    node = NEURONS["cuba_lif"]().build(SURROGATES["atan"]()).double()
    current, grad = th.randn(1, 3, 8, dtype=th.float64), th.randn(4, 3, 8, dtype=th.float64)

    def second(execute):
        x = current.clone().requires_grad_()
        first = th.autograd.grad(execute(x), x, grad, create_graph=True)[0]
        return th.autograd.grad(first.square().sum(), x)[0]

    fused = second(lambda x: run_neurons(node, x, 4))
    assert fused.abs().sum() > 0
    th.testing.assert_close(fused, second(lambda x: by_spikingjelly(node)(x.expand(4, -1, -1))))


@pytest.mark.parametrize("time_steps", [None, 3])
def test_channels_stay_where_they_lie(time_steps):
    # Copying images into another order takes longer than the neurons do.
    node = NEURONS["cuba_lif"]().build(SURROGATES["rect"]())
    steps = 1 if time_steps else 3
    current = th.randn(steps * 2, 5, 4, 6).contiguous(memory_format=th.channels_last).unflatten(0, (steps, 2))
    grad = th.randn(3, 2, 5, 4, 6)
    fused = run(lambda x: run_neurons(node, x, time_steps), node, current, grad)
    own = run(lambda x: by_spikingjelly(node)(x.expand(3, -1, -1, -1, -1)), node, current, grad)
    assert th.equal(fused[0], own[0])
    th.testing.assert_close(fused[1:], own[1:])
    assert fused[0].flatten(0, 1).is_contiguous(memory_format=th.channels_last)
    spikes, margin = record_neurons(node, current.expand(3, -1, -1, -1, -1).contiguous())
    assert th.equal(spikes, own[0])
    assert spikes.shape == margin.shape == grad.shape


@ALL
def test_second_derivatives_equal_those_of_spikingjellys_nodes(neuron, surrogate, reset):
    # What TRPO's curvature needs. A Function that is differentiable once loses such terms without an error.
    node = make(neuron, reset).build(SURROGATES[surrogate]()).double()
    current, grad, direction = th.randn(3, 4, 3, 8, dtype=th.float64)
    grad.requires_grad_()

    def second(execute):
        x = current.clone().requires_grad_()
        inputs = [x, *node.parameters()]
        first = th.autograd.grad(execute(x), inputs, grad, create_graph=True)
        curvature = (first[0] * direction).sum() + sum(gradient.sum() for gradient in first[1:])
        return th.autograd.grad(curvature, [*inputs, grad], allow_unused=True, materialize_grads=True)

    fused, own = second(lambda x: run_neurons(node, x)), second(by_spikingjelly(node))
    assert fused[-1].abs().sum() > 0
    th.testing.assert_close(fused, own, rtol=1e-9, atol=1e-9)


def other_lif():
    return sj.LIFNode(tau=2.0, decay_input=True, step_mode="m")


def other_reset():
    return sj.IFNode(v_reset=-0.5, step_mode="m")


def other_surrogate():
    return sj.IFNode(surrogate_function=sj_surrogate.Erf(), step_mode="m")


def node_that_keeps_its_membranes():
    return sj.IFNode(step_mode="m", store_v_seq=True)


class SubclassedIFNode(sj.IFNode):
    """May have other dynamics."""


@pytest.mark.parametrize(
    "make", [other_lif, other_reset, other_surrogate, SubclassedIFNode, node_that_keeps_its_membranes]
)
def test_unknown_dynamics_run_themselves_from_rest_to_rest(make):
    node = make()
    node.step_mode = "m"
    current = th.randn(5, 2, 3)
    assert choose_neurons(node, current).way is Way.NODE
    first = run_neurons(node, current)
    assert th.equal(first, run_neurons(node, current))


def test_half_precision_runs_itself():
    node = NEURONS["cuba_lif"]().build(SURROGATES["rect"]())
    execution = choose_neurons(node, th.zeros(1, dtype=th.bfloat16))
    assert execution.way is Way.NODE
    assert "bfloat16" in execution.reason


def test_watched_node_runs_itself_so_that_monitors_see_the_same_spikes():
    from spikingjelly.activation_based.monitor import OutputMonitor

    layer = th.nn.Sequential(NEURONS["cuba_lif"]().build(SURROGATES["rect"]()))
    current = th.randn(5, 2, 30)
    unwatched = run_neurons(layer[0], current)
    with OutputMonitor(layer, sj.CUBALIFNode) as monitor:
        watched = run_neurons(layer[0], current)
        assert th.equal(monitor.records[0], unwatched)
    assert th.equal(watched, unwatched)
    assert isinstance(layer[0].v, float)


def test_a_changed_node_is_seen_at_once():
    node = NEURONS["cuba_lif"]().build(SURROGATES["rect"]())
    current = th.full((1, 1, 1), 0.6)
    assert run_neurons(node, current).item() == 1.0
    node.v_threshold = 0.7
    assert run_neurons(node, current).item() == 0.0
