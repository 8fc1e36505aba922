"""Receptive fields have the derivatives of their formula, first and second."""

import pytest
import torch as th

from sb3_spiking.snn import DeterministicEncoder
from sb3_spiking.snn.receptive_fields import receptive_fields


def by_the_formula(observations, mean, width):
    return th.exp(-0.5 * ((observations.unsqueeze(-1) - mean) / width).square())


def arguments(dtype=th.float64):
    observations, mean = th.randn(5, 3, dtype=dtype), th.randn(3, 4, dtype=dtype)
    return [given.requires_grad_() for given in (observations, mean, th.rand(3, 4, dtype=dtype) + 0.3)]


def test_activities_are_the_formulas_to_the_last_bit():
    # At the threshold of the integrators behind them the last bit is a spike.
    given = arguments(th.float32)
    assert th.equal(receptive_fields(*given), by_the_formula(*given))


@pytest.mark.parametrize(
    "learnt", [(True, True, True), (False, True, True), (True, False, False), (False, False, True)]
)
def test_gradients_are_autograds(learnt):
    given = [one.detach().requires_grad_(wanted) for one, wanted in zip(arguments(), learnt, strict=True)]
    wanted = [one for one in given if one.requires_grad]
    weights = th.randn(5, 3, 4, dtype=th.float64)
    own = th.autograd.grad(receptive_fields(*given), wanted, weights)
    for one, other in zip(own, th.autograd.grad(by_the_formula(*given), wanted, weights), strict=True):
        th.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_first_and_second_derivatives_are_those_of_differences():
    assert th.autograd.gradcheck(receptive_fields, arguments())
    assert th.autograd.gradgradcheck(receptive_fields, arguments())


def test_fields_that_are_clamped_do_not_learn():
    encoder = DeterministicEncoder(2, population=3, std=1e-3)
    encoder.activity(th.zeros(4, 2)).sum().backward()
    assert encoder.std.grad.abs().sum() == 0.0
    assert encoder.mean.grad is not None
