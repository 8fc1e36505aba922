"""
Fine-tuning: distilling the converted network towards the DQN, thresholds included.

Forward, the network spikes. Backward, every spiking layer is the ReLU that it stands for, cut off at its threshold: the
gradient goes through the activations and not through time (tandem learning, Wu et al., 2020; spike representation, Meng
et al., 2022). Any coding can be trained this way, at the memory of one step.
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


def finetune(
    dqn: DenseNetwork,
    thresholds: Sequence[th.Tensor],
    coding: Coding,
    features: th.Tensor,
    steps: int,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[float], Any] = lambda loss: None,
) -> tuple[DenseNetwork, list[th.Tensor]]:
    """
    Train weights and thresholds so that the spiking network gives the DQN's Q-values on its states.

    Q-values are compared up to a constant for each state, on which no decision depends, and in standard deviations of
    the DQN's. The rate of learning falls to 0. A tenth of the states is held out: of several moments of the training,
    the start among them, the last one is kept of those that decide there most often as the DQN.

    :param dqn: the DQN; it is not changed
    :param thresholds: to begin with, of each layer, see ``calibration.thresholds``
    :param coding: how spikes carry activations
    :param features: preprocessed states, ``[N, ...]``
    :param steps: gradient steps of 64 states
    :param learning_rate: Adam's, at the start
    :param seed: of the order of the states
    :param progress: is told the loss of every step
    :return: layers and thresholds to convert
    """
    positive_int("finetune_steps", steps)
    notice_threads(dqn)
    student = copy.deepcopy(dqn).requires_grad_(True)
    hidden = [nn.Parameter(threshold.log()) for threshold in thresholds[:-1]]
    targets = th.cat([dqn(batch) for batch in features.split(1024)])
    scale = targets.std(correction=0)
    scale = th.where(scale > 0.0, scale, 1.0)
    optimizer = th.optim.Adam([*student.parameters(), *hidden], learning_rate)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
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
        loss = ((_centred(values) - _centred(targets[rows])) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        progress(loss.item())
        if step % math.ceil(steps / CHECKS) == 0 or step == steps:
            now = [*(logarithm.exp().detach() for logarithm in hidden), thresholds[-1]]
            reached = agreement(student, now)
            if not reached < best:  # also where so few states are given that none is held out
                best, kept = reached, (copy.deepcopy(student).requires_grad_(False), now)
    return kept


def _spiking_values(
    student: DenseNetwork, thresholds: Sequence[th.Tensor], coding: Coding, features: th.Tensor
) -> th.Tensor:
    """Return the Q-values of the spiking network, differentiable with regard to weights and thresholds."""
    with th.no_grad():
        detached = [threshold.detach() for threshold in thresholds]
        carried = convert_layers(student, detached, coding).activations(features)
    activation = features
    for layer, threshold, spiking in zip(student.layers[:-1], thresholds[:-1], carried, strict=True):
        output = apply(layer, activation)
        limit = threshold.reshape(-1, *[1] * (output.dim() - 2))
        relu = th.minimum(output.relu(), limit)
        activation = relu + (spiking * limit - relu).detach()
    return apply(student.layers[-1], activation)


def _centred(values: th.Tensor) -> th.Tensor:
    return values - values.mean(dim=1, keepdim=True)
