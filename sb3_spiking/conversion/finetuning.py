"""
Fine-tuning of a converted network by distillation from the DQN, thresholds included.

The forward pass spikes. In the backward pass every spiking layer is a ReLU that saturates at its threshold: gradients
flow through activations, not through time (tandem learning, Wu et al., 2020; spike representation, Meng et al., 2022).
Any coding can be trained this way, with the memory of one time step.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch as th
from torch import nn

from sb3_spiking.arguments import positive_int
from sb3_spiking.conversion.codings import Coding
from sb3_spiking.conversion.dense import DenseNetwork, apply
from sb3_spiking.conversion.network import convert_layers
from sb3_spiking.snn.threads import notice_threads

BATCH = 64
CHECKS = 5
"""Number of evaluations on the held-out states after the start."""


def finetune(
    dqn: DenseNetwork,
    thresholds: Sequence[th.Tensor],
    coding: Coding,
    features: th.Tensor,
    steps: int,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[], Any] = lambda: None,
) -> tuple[DenseNetwork, list[th.Tensor]]:
    """
    Train weights and thresholds towards the DQN's Q-values on given states.

    The loss ignores a constant of each state, on which no decision depends, and is in standard deviations of the DQN's
    Q-values. The learning rate falls linearly to 0. A tenth of the states is held out; the start and several moments of
    the training are evaluated on it, and the last of those with the best agreement is returned.

    :param dqn: the DQN; it is not changed
    :param thresholds: initial thresholds of each layer, see ``calibration.thresholds``
    :param coding: representation of activations by spikes
    :param features: preprocessed states, ``[N, ...]``
    :param steps: number of gradient steps, on batches of 64 states
    :param learning_rate: initial learning rate of Adam
    :param seed: seed of the order of the states
    :param progress: function called after each gradient step, without arguments
    :return: trained layers and thresholds, to be converted
    """
    positive_int("finetune_steps", steps)
    notice_threads(dqn)
    # Student and targets. Logarithms keep the trained thresholds positive.
    student = copy.deepcopy(dqn).requires_grad_(True)
    hidden = [nn.Parameter(threshold.log()) for threshold in thresholds[:-1]]
    targets = th.cat([dqn(batch) for batch in features.split(1024)])
    scale = targets.std(correction=0)
    scale = th.where(scale > 0.0, scale, 1.0)
    optimizer = th.optim.Adam([*student.parameters(), *hidden], learning_rate)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    # Random split into held-out and training states.
    generator = th.Generator().manual_seed(seed)
    order = th.randperm(len(features), generator=generator)
    held_out, trained_on = order[: len(order) // 10], order[len(order) // 10 :]

    def agreement(network: DenseNetwork, values: Sequence[th.Tensor]) -> float:
        with th.no_grad():
            chosen = convert_layers(network, values, coding)(features[held_out]).argmax(dim=1)
        return (chosen == targets[held_out].argmax(dim=1)).double().mean().item()

    best, kept = agreement(dqn, thresholds), (copy.deepcopy(dqn), list(thresholds))
    for step in range(1, steps + 1):
        rows = trained_on[th.randint(len(trained_on), (BATCH,), generator=generator)]
        current = [*(logarithm.exp() for logarithm in hidden), thresholds[-1]]
        values = _spiking_values(student, current, coding, features[rows])
        loss = _loss(values, targets[rows], scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress()
        if step % math.ceil(steps / CHECKS) == 0 or step == steps:
            now = [*(logarithm.exp().detach() for logarithm in hidden), thresholds[-1]]
            reached = agreement(student, now)
            if not reached < best:  # also if there are too few states to hold any out
                best, kept = reached, (copy.deepcopy(student).requires_grad_(False), now)
    return kept


def _spiking_values(
    student: DenseNetwork, thresholds: Sequence[th.Tensor], coding: Coding, features: th.Tensor
) -> th.Tensor:
    """Return the Q-values of the spiking network, differentiable in the weights and thresholds."""
    with th.no_grad():
        detached = [threshold.detach() for threshold in thresholds]
        carried = convert_layers(student, detached, coding).activations(features)
    # Straight-through: the value is that of the spikes, the gradient that of the saturating ReLU.
    activation = features
    for layer, threshold, spiking in zip(student.layers[:-1], thresholds[:-1], carried, strict=True):
        output = apply(layer, activation)
        limit = threshold.reshape(-1, *[1] * (output.dim() - 2))
        relu = th.minimum(output.relu(), limit)
        activation = relu + (spiking * limit - relu).detach()
    return apply(student.layers[-1], activation)


def _loss(values: th.Tensor, targets: th.Tensor, scale: th.Tensor) -> th.Tensor:
    return ((_centred(values) - _centred(targets)) / scale).square().mean()


def _centred(values: th.Tensor) -> th.Tensor:
    return values - values.mean(dim=1, keepdim=True)
