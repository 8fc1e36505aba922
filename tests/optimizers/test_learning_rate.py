import copy
import pickle

import pytest
import torch as th

from sb3_spiking.optimizers.learning_rate import attach_hooks, scaled_optimizer


def step(optimizer, parameter):
    """Return how far one step of gradient 1 moves the parameter."""
    before = parameter.detach().clone()
    parameter.grad = th.ones_like(parameter)
    optimizer.step()
    return (before - parameter.detach()).item()


@pytest.fixture
def parameter():
    return th.nn.Parameter(th.zeros(1))


@pytest.mark.parametrize("optimizer_class", [th.optim.SGD, th.optim.Adam, th.optim.RMSprop])
def test_any_optimiser_steps_at_the_scaled_rate_and_shows_the_other(parameter, optimizer_class):
    plain = step(optimizer_class([parameter], lr=0.1), parameter)
    optimizer = scaled_optimizer(optimizer_class, [parameter], [parameter], 0.25, lr=0.1)
    assert step(optimizer, parameter) == pytest.approx(0.25 * plain)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_sb3_may_overwrite_the_rate_between_steps(parameter):
    optimizer = scaled_optimizer(th.optim.SGD, [parameter], [parameter], 0.5, lr=0.1)
    step(optimizer, parameter)
    optimizer.param_groups[0]["lr"] = 0.2
    assert step(optimizer, parameter) == pytest.approx(0.1)


def test_thousands_of_steps_do_not_wear_the_rate_down(parameter):
    optimizer = scaled_optimizer(th.optim.SGD, [parameter], [parameter], 1 / 3, lr=0.1)
    for _ in range(2000):
        step(optimizer, parameter)
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_the_scale_is_saved_with_the_optimiser(parameter):
    optimizer = scaled_optimizer(th.optim.SGD, [parameter], [parameter], 0.5, lr=0.1)
    assert set(optimizer.state_dict()["param_groups"][0]) >= {"lr", "lr_scale"}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o)), lambda o: o])
def test_attaching_scales_once_whether_the_hooks_were_lost_or_not(parameter, copied):
    optimizer = scaled_optimizer(th.optim.SGD, [parameter], [parameter], 0.5, lr=0.1)
    other = copied(optimizer)
    attach_hooks(other)
    assert step(other, other.param_groups[0]["params"][0]) == pytest.approx(0.05)


def test_the_other_parameters_keep_their_rate(parameter):
    other = th.nn.Parameter(th.zeros(1))
    optimizer = scaled_optimizer(th.optim.SGD, [other, parameter], [parameter], 0.5, lr=0.1)
    assert step(optimizer, parameter) == pytest.approx(0.05)
    assert step(optimizer, other) == pytest.approx(0.1)
