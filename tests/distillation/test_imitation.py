"""The loss of an imitating student is least where its actions are the teacher's."""

import math

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.nn import functional

from sb3_spiking.distillation.imitation import half_range, imitation_loss
from sb3_spiking.policies.action_map import ActionMap

BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))


def test_scaled_actions_are_compared_in_half_ranges():
    # y = tanh(0) = 0 is the middle of both ranges; the actions lie half and a whole of half a range above it.
    loss = imitation_loss(ActionMap(BOX, unscaled=True, squashed=True), th.zeros(1, 2), th.tensor([[1.0, 1.0]]))
    assert loss.item() == pytest.approx((0.5**2 + 1.0**2) / 2)
    # Without a tanh of the map the outputs are compared as they are.
    loss = imitation_loss(ActionMap(BOX, unscaled=True), th.tensor([[0.5, 1.0]]), th.tensor([[1.0, 1.0]]))
    assert loss.item() == pytest.approx(0.0)


def test_outputs_beyond_the_bound_of_the_action_cost_nothing():
    outputs = th.tensor([[3.0, -4.0]], requires_grad=True)
    loss = imitation_loss(ActionMap(BOX), outputs, th.tensor([[2.0, 0.0]]))
    loss.backward()
    assert loss.item() == 0.0
    assert not outputs.grad.any()
    # Beyond the other bound they cost their distance, in half ranges of 2 and 1/2.
    loss = imitation_loss(ActionMap(BOX), th.tensor([[-3.0, 1.0]]), th.tensor([[2.0, 0.0]]))
    assert loss.item() == pytest.approx(((5 / 2) ** 2 + (1 / 0.5) ** 2) / 2)


def test_actions_without_bounds_are_compared_as_they_are():
    space = spaces.Box(-np.inf, np.inf, (2,))
    assert half_range(space).tolist() == [1.0, 1.0]
    loss = imitation_loss(ActionMap(space), th.tensor([[1.0, 5.0]]), th.tensor([[0.0, 3.0]]))
    assert loss.item() == pytest.approx((1 + 4) / 2)


def test_an_action_without_choice_costs_a_finite_loss():
    space = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32))
    loss = imitation_loss(ActionMap(space, unscaled=True), th.tensor([[0.5, 0.0]]), th.tensor([[0.5, 0.0]]))
    assert math.isfinite(loss.item())


def test_discrete_actions_may_begin_anywhere_and_have_quantiles():
    space = spaces.Discrete(3, start=5)
    outputs = th.tensor([[0.0, 0.0, 0.0, 2.0, 0.0, 0.0]])  # two quantiles of three actions; their mean is 1, 0, 0
    loss = imitation_loss(ActionMap(space), outputs, th.tensor([5]))
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 2)))


def test_several_discrete_actions_are_independent():
    space = spaces.MultiDiscrete([2, 3], start=[1, 0])
    outputs = th.tensor([[0.0, 1.0, 2.0, 0.0, 0.0]])
    loss = imitation_loss(ActionMap(space), outputs, th.tensor([[2, 0]]))
    expected = -math.log(math.e / (1 + math.e)) - math.log(math.e**2 / (math.e**2 + 2))
    assert loss.item() == pytest.approx(expected)


def test_binary_actions_are_bits():
    outputs, actions = th.tensor([[1.0, -2.0, 0.0]]), th.tensor([[1, 0, 1]], dtype=th.int8)
    loss = imitation_loss(ActionMap(spaces.MultiBinary(3)), outputs, actions)
    assert loss.item() == pytest.approx(functional.softplus(th.tensor([-1.0, -2.0, 0.0])).mean().item())


@pytest.mark.parametrize(
    "action_map",
    [
        ActionMap(BOX),
        ActionMap(BOX, unscaled=True),
        ActionMap(BOX, unscaled=True, squashed=True),
        ActionMap(spaces.Discrete(3, start=-1)),
        ActionMap(spaces.MultiDiscrete([2, 3])),
        ActionMap(spaces.MultiBinary(2)),
    ],
    ids=str,
)
def test_descending_the_loss_reaches_the_actions(action_map):
    action_map.space.seed(0)
    wanted = np.stack([np.asarray(action_map.space.sample()) for _ in range(20)])
    size = {spaces.MultiDiscrete: 5, spaces.Discrete: 3}.get(type(action_map.space), 2)
    outputs = th.zeros(20, size, requires_grad=True)
    optimizer = th.optim.Adam([outputs], 0.05)
    for _ in range(600):
        optimizer.zero_grad()
        imitation_loss(action_map, outputs, th.as_tensor(wanted)).backward()
        optimizer.step()
    # A tanh reaches its bounds slowly.
    np.testing.assert_allclose(action_map(outputs.detach()).numpy(), wanted, atol=0.05)
