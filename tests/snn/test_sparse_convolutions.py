"""Convolutions of changing spikes equal torch's."""

import math

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.execution import sparse_convolutions
from sb3_spiking.snn.execution.choose import convolves_plainly
from sb3_spiking.snn.execution.sparse_convolutions import MAX_DENSITY, Changes, convolution, few_changes
from sb3_spiking.snn.layers import hidden_layer


@pytest.fixture(autouse=True)
def one_thread():
    threads = th.get_num_threads()
    th.set_num_threads(1)
    yield
    th.set_num_threads(threads)


def channels_last(images):
    return images.contiguous(memory_format=th.channels_last)


def spike_trains(time_steps, images, channels, height=8, width=8, density=0.1, dtype=th.float64):
    """Return spikes of neurons half of which fire at all the steps or at none."""
    steps = th.rand(time_steps, images, channels, height, width) < density
    always = (th.rand(images, channels, height, width) < density) & (th.rand(channels, 1, 1) < 0.5)
    return channels_last((steps | always).flatten(0, 1).to(dtype))


def results(convolve, images, *parameters, gradient):
    tensors = [
        tensor.detach().clone(memory_format=th.preserve_format).requires_grad_() for tensor in (images, *parameters)
    ]
    currents = convolve(*tensors)
    return currents, *th.autograd.grad(currents, tensors, gradient)


@given(
    time_steps=st.sampled_from([1, 2, 5]),
    images=st.sampled_from([1, 2, 9]),
    channels=st.sampled_from([8, 24, 64]),
    outputs=st.sampled_from([32, 64, 96]),
    kernel=st.sampled_from([(1, 1), (3, 3), (4, 4), (2, 8)]),
    stride=st.sampled_from([(1, 1), (2, 2), (3, 1)]),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_equal_torchs_and_so_do_their_gradients(time_steps, images, channels, outputs, kernel, stride, density, seed):
    th.manual_seed(seed)
    spikes = spike_trains(time_steps, images, channels, density=density)
    # Whole numbers: their sums are exact in any order.
    weight = th.randint(-9, 10, (outputs, channels, *kernel)).double()
    bias = th.randint(-9, 10, (outputs,)).double()
    expected = functional.conv2d(spikes, weight, bias, stride)
    gradient = th.randint_like(expected, -9, 10)
    listed = Changes.of(spikes.movedim(1, -1), time_steps)

    def ours(*tensors):
        return sparse_convolutions._Convolution.apply(*tensors, stride, time_steps, listed)

    def torchs(*tensors):
        return functional.conv2d(*tensors, stride)

    found = results(ours, spikes, weight, bias, gradient=gradient)
    assert all(map(th.equal, found, results(torchs, spikes, weight, bias, gradient=gradient)))
    assert found[0].is_contiguous(memory_format=th.channels_last)


def few(time_steps=4, channels=16):
    spikes = th.zeros(time_steps * 2, channels, 8, 8)
    spikes[:, 3, 2, 1] = spikes[2, 5] = 1.0
    return channels_last(spikes)


@pytest.mark.parametrize("shape", [(4, 1, 32, 9, 9), (8, 1, 8, 5, 5), (4, 1, 8, 2, 2)])
def test_steps_that_are_no_multiple_of_what_is_read_at_once_are_torchs(shape):
    time_steps, images, channels, *sides = shape
    spikes = channels_last(th.ones(time_steps * images, channels, *sides))
    assert few_changes(spikes, time_steps, th.randn(64, channels, 2, 2), th.randn(64), (1, 1)) is None


def test_changes_are_listed_once_however_long_neurons_fire():
    spikes = th.zeros(3, 64)
    spikes[:, 7] = spikes[1, 60] = 1.0
    listed = Changes.of(spikes, time_steps=3)
    assert listed.changes[: listed.starts[-1]].tolist() == [2 * 7, 2 * (64 + 60), 2 * (128 + 60) + 1]
    assert listed.starts[[0, 1, 8, 15, 16, 24]].tolist() == [0, 1, 1, 1, 2, 3]


@pytest.mark.parametrize("time_steps", [1, 4])
def test_few_changes_are_listed(time_steps):
    assert few_changes(few(), time_steps, th.ones(64, 16, 3, 3), th.ones(64), (1, 1)) is not None


@pytest.mark.parametrize(
    ("images", "outputs"),
    [
        (few(channels=12), 64),
        (few()[:1, :, :1, :2], 64),
        (few(), 48),
        (few().bernoulli_(MAX_DENSITY), 64),
        (few() * 0.5, 64),
        (-few(), 64),
        (few() * math.nan, 64),
        (few() + 1e-30, 64),
    ],
    ids=["channels", "numbers", "outputs", "many", "analog", "negative", "nan", "tiny"],
)
def test_all_else_is_torchs(images, outputs):
    weight = th.ones(outputs, images.shape[1], 1, 1)
    assert few_changes(images, 4 if len(images) > 1 else 1, weight, th.ones(outputs), (1, 1)) is None


def test_several_threads_run_torchs():
    th.set_num_threads(2)
    assert few_changes(few(), 4, th.ones(64, 16, 3, 3), th.ones(64), (1, 1)) is None


def test_automatic_casts_are_torchs():
    with th.autocast("cpu", dtype=th.bfloat16):
        assert convolution(few(), 4, th.ones(64, 16, 3, 3), th.ones(64), (1, 1)).dtype == th.bfloat16


def test_weights_of_another_type_are_torchs():
    class Own(th.Tensor):
        pass

    assert few_changes(few(), 4, th.ones(64, 16, 3, 3).as_subclass(Own), th.ones(64), (1, 1)) is None


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_convolution_has_second_derivatives(stride):
    images = few().double().requires_grad_()
    weight, bias = (th.randn(size, dtype=th.float64, requires_grad=True) for size in ((32, 16, 3, 3), (32,)))

    def derivatives(convolve):
        tensors = [images, weight, bias]
        first = th.autograd.grad(convolve(*tensors).square().sum(), tensors, create_graph=True)
        return first, th.autograd.grad(sum(gradient.square().sum() for gradient in first), tensors)

    found = derivatives(lambda images, weight, bias: convolution(images, 4, weight, bias, stride))
    th.testing.assert_close(found, derivatives(lambda *tensors: functional.conv2d(*tensors, stride)))


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_frozen_parts_have_no_gradient_and_the_others_theirs(frozen):
    tensors = [few(), th.randn(64, 16, 3, 3), th.randn(64)]
    learnt = [tensor.requires_grad_() for place, tensor in enumerate(tensors) if place != frozen]
    found = th.autograd.grad(convolution(tensors[0], 4, *tensors[1:], (2, 2)).sum(), learnt)
    expected = th.autograd.grad(functional.conv2d(*tensors, (2, 2)).sum(), learnt)
    th.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("weight", "bias"),
    [
        (th.ones(64, 8, 3, 3), th.ones(64)),
        (th.ones(64, 16, 9, 3), th.ones(64)),
        (th.ones(64, 16, 3, 3), th.ones(32)),
        (th.ones(64, 16, 3, 3).double(), th.ones(64).double()),
    ],
    ids=["channels", "kernel", "bias", "dtype"],
)
def test_parameters_that_do_not_fit_are_an_error(weight, bias):
    with pytest.raises(RuntimeError):
        convolution(few(), 4, weight, bias, (1, 1))


def make_layer():
    th.manual_seed(0)
    return hidden_layer("conv1", nn.Conv2d(16, 64, 3, 2), SpikingOptions(membrane_norm="layer"))


def test_observed_and_unobserved_layers_fire_alike():
    layer, spikes = make_layer(), spike_trains(5, 3, 16, dtype=th.float32).unflatten(0, (5, 3))
    assert few_changes(spikes.flatten(0, 1), 5, *layer.synapses.parameters(), (2, 2)) is not None
    found = layer(spikes)
    assert 0.1 < found.mean() < 0.5
    assert th.equal(found, layer.record(spikes).spikes)
    with th.no_grad():
        assert th.equal(found, layer(spikes))


def test_a_batch_and_its_images_have_the_same_currents():
    layer, spikes = make_layer(), spike_trains(5, 3, 16, dtype=th.float32).unflatten(0, (5, 3))
    together = layer.current(spikes)
    assert th.equal(together[:, 1:2], layer.current(spikes[:, 1:2]))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


class Own(nn.Conv2d):
    pass


def hooked():
    synapses = nn.Conv2d(16, 64, 3)
    synapses.register_forward_hook(lambda *_: None)
    return synapses


@pytest.mark.parametrize(
    "synapses",
    [
        nn.Conv2d(16, 64, 3, padding=1),
        nn.Conv2d(16, 64, 3, padding="same"),
        nn.Conv2d(16, 64, 3, dilation=2),
        nn.Conv2d(16, 64, 3, groups=2),
        nn.Conv2d(16, 64, 3, bias=False),
        parametrize.register_parametrization(nn.Conv2d(16, 64, 3), "weight", Doubled()),
        Own(16, 64, 3),
        hooked(),
        nn.Linear(16, 64),
    ],
    ids=["padding", "same", "dilation", "groups", "bias", "parametrized", "subclass", "hooked", "linear"],
)
def test_other_synapses_run_themselves(synapses):
    assert convolves_plainly(nn.Conv2d(16, 64, (3, 2), (2, 1)))
    assert not convolves_plainly(synapses)
