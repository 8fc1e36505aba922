"""Products that skip silent inputs equal torch's."""

import dataclasses
import math

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.execution import lanes, rounded_products
from sb3_spiking.snn.execution import sparse_products as products
from sb3_spiking.snn.execution.costs import DEFAULTS
from sb3_spiking.snn.execution.rounded_products import reads_rounded
from sb3_spiking.snn.execution.sparse_products import MIN_SIZE, SpikeList, few_spikes
from sb3_spiking.snn.layers import hidden_layer
from tests.snn.test_connected import WAYS


@given(
    rows=st.sampled_from([0, 1, 2, 77]),
    inputs=st.sampled_from([64, 65, 127, 128, 170, 300]),
    neurons=st.sampled_from([64, 65, 96, 256, 257]),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    dtype=st.sampled_from([th.float32, th.float64]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_equal_matrix_products(rows, inputs, neurons, density, dtype, seed):
    th.manual_seed(seed)
    spikes = (th.rand(rows, inputs) < density).to(dtype)
    # Whole numbers: their sums are exact in any order.
    weight, gradient = th.randint(-9, 10, (neurons, inputs)).to(dtype), th.randint(-9, 10, (rows, neurons)).to(dtype)
    listed = SpikeList.of(spikes)
    current = th.full((rows, neurons), math.nan, dtype=dtype)
    listed.products(weight, current)
    assert th.equal(current, spikes @ weight.t())
    assert th.equal(listed.weight_gradient(gradient), gradient.t() @ spikes)


COSTS = dataclasses.replace(
    DEFAULTS, dense=0.03, rounded=0.01, spike=0.1, gradient=0.1, look=0.064, entry=1e-9, transposition=0.4
)
ROWS, MAX_DENSITY = 400, 0.28
"""(0.03 - 0.064 / 64 - 0.4 / 400) / 0.1."""


@pytest.fixture(autouse=True)
def known_costs(monkeypatch):
    monkeypatch.setattr(products, "costs", lambda: COSTS)


def few(rows=ROWS, inputs=MIN_SIZE):
    spikes = th.zeros(rows, inputs)
    spikes[::10, 3] = 1.0
    return spikes


def test_few_spikes_are_listed():
    listed = few_spikes(few(), MIN_SIZE)
    assert listed is not None
    assert (listed.inputs == 3).all()
    assert listed.row_starts[[0, 1, 10, 11, -1]].tolist() == [0, 1, 1, 2, len(listed.inputs)]


@pytest.mark.parametrize(
    ("inputs", "neurons"),
    [
        (few(rows=13), MIN_SIZE),
        (few(inputs=MIN_SIZE - 1), MIN_SIZE),
        (few(), MIN_SIZE - 1),
        (th.zeros(ROWS, products.PANEL_BYTES // 64), MIN_SIZE),
        (few().bernoulli_(MAX_DENSITY + 0.05), MIN_SIZE),
        (th.ones_like(few()), MIN_SIZE),
        (-few(), MIN_SIZE),
        (few() / 2, MIN_SIZE),
        (few() * math.nan, MIN_SIZE),
    ],
    ids=["rows", "inputs", "neurons", "panel", "many", "all", "negative", "analog", "nan"],
)
def test_all_else_is_torchs(inputs, neurons):
    assert few_spikes(inputs, neurons) is None


def test_the_share_of_spikes_that_is_listed_follows_from_the_costs():
    spikes = th.zeros(ROWS, MIN_SIZE)
    spikes[:, : int(MIN_SIZE * MAX_DENSITY)] = 1.0
    assert few_spikes(spikes, MIN_SIZE) is not None
    assert few_spikes(spikes, MIN_SIZE, th.bfloat16) is None
    spikes[:, int(MIN_SIZE * MAX_DENSITY)] = 1.0
    assert few_spikes(spikes, MIN_SIZE) is None


def test_a_spike_train_without_spikes_is_nothing_but_bias():
    listed = few_spikes(th.zeros(ROWS, 70), 80)
    current = th.ones(ROWS, 80)
    listed.products(th.randn(80, 70), current)
    assert (current == 0).all()
    assert (listed.weight_gradient(th.randn(ROWS, 80)) == 0).all()


@pytest.mark.parametrize("columns", [64, 100, products.PANEL_COLUMNS + 70])
@pytest.mark.parametrize("dtype", [th.float32, th.float64])
def test_gradients_of_several_tiles_and_panels_add_up(columns, dtype):
    rows = 2 * (products.PANEL_BYTES // lanes.BYTES) + 3
    spikes = (th.rand(rows, 66) < 0.1).to(dtype)
    gradient = th.randint(-9, 10, (rows, columns)).to(dtype)
    assert th.equal(SpikeList.of(spikes).weight_gradient(gradient), gradient.t() @ spikes)


def test_gradients_of_many_spikes_are_torchs(monkeypatch):
    spikes = few().bernoulli_(0.1)
    listed, gradient = few_spikes(spikes, MIN_SIZE), th.randn(len(spikes), MIN_SIZE)
    monkeypatch.setattr(SpikeList, "weight_gradient", lambda *args: None)
    assert products.weight_gradient(gradient, spikes, listed) is None
    monkeypatch.setattr(products, "costs", lambda: dataclasses.replace(COSTS, gradient=1.0))
    assert th.equal(products.weight_gradient(gradient, spikes, listed), gradient.t() @ spikes)


@pytest.mark.parametrize("rows", [5, ROWS])
def test_product_has_first_and_second_derivatives(rows):
    inputs, weight = few(rows).double().requires_grad_(), th.randn(70, MIN_SIZE, dtype=th.float64, requires_grad=True)

    def derivatives(multiply):
        first = th.autograd.grad(multiply(inputs, weight).square().sum(), [inputs, weight], create_graph=True)
        return first, th.autograd.grad(sum(gradient.square().sum() for gradient in first), [inputs, weight])

    th.testing.assert_close(derivatives(products.differentiable_product), derivatives(th.nn.functional.linear))


@pytest.mark.parametrize("way", WAYS)
def test_rounded_product_has_first_and_second_derivatives(way, monkeypatch):
    monkeypatch.setattr(rounded_products, "rounding", lambda factor: way)
    inputs, weight = th.randn(50, 40).requires_grad_(), th.randn(60, 40, requires_grad=True)

    def derivatives(multiply):
        first = th.autograd.grad(multiply(inputs, weight).square().sum(), [inputs, weight], create_graph=True)
        return *first, *th.autograd.grad(sum(gradient.square().sum() for gradient in first), [inputs, weight])

    def rounded(inputs, weight):
        return products.differentiable_product(inputs, weight, th.bfloat16)

    for own, exact in zip(derivatives(rounded), derivatives(th.nn.functional.linear), strict=True):
        th.testing.assert_close(own, exact, rtol=0, atol=0.02 * exact.abs().max().item())


def test_numbers_are_rounded_to_bfloat16_as_by_torch():
    bits = th.randint(-(2**31), 2**31, (100_000,), dtype=th.int64).to(th.int32)
    numbers = th.cat([bits.view(th.float32), th.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, 3.4e38])])
    ties = (th.arange(1000, dtype=th.int32) * 2**15 + 2**29).view(th.float32)
    numbers = th.cat([numbers, ties, -ties])
    rounded = th.empty_like(numbers)
    rounded_products.round_to_bfloat16(numbers.numpy(), rounded.numpy())
    th.testing.assert_close(rounded, numbers.bfloat16().float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.skipif(not reads_rounded(), reason="no AMX")
def test_the_precision_of_all_other_products_stays(monkeypatch):
    factor = th.full((64, 64), 1.0 + 2.0**-10)
    exact = factor @ factor
    assert not th.equal(rounded_products.multiply(factor, factor, th.bfloat16), exact)
    assert th.equal(factor @ factor, exact)
    with pytest.raises(RuntimeError):
        rounded_products.multiply(factor, factor[1:], th.bfloat16)
    assert th.equal(factor @ factor, exact)
    assert th.get_float32_matmul_precision() == "highest"


def test_half_precision_is_torchs():
    layer = hidden_layer("hidden0", th.nn.Linear(MIN_SIZE, 70), SpikingOptions()).bfloat16()
    assert layer.current(few()[None].bfloat16()).dtype == th.bfloat16


@pytest.mark.parametrize("weight", [th.ones(70, MIN_SIZE + 1), th.ones(70, MIN_SIZE, dtype=th.float64)])
def test_weights_that_do_not_fit_are_an_error(weight):
    with pytest.raises(RuntimeError):
        products.differentiable_product(few(), weight)
