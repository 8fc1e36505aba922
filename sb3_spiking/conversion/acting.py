"""Decisions of a converted network in one kernel call, where all its layers are fully connected."""

from itertools import pairwise
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import numpy as np
import torch as th
from torch import nn

from sb3_spiking.conversion.network import ConvertedNetwork
from sb3_spiking.snn.snapshot import Snapshot

MAX_ROWS = 2**15
"""Largest number of observations times time steps."""


class _Plan:
    """
    Arguments of the kernel, and everything that invalidates them when it changes.

    :param network: converted network
    """

    def __init__(self, network: ConvertedNetwork) -> None:
        modules = [*network.modules()]
        own = [(module.__dict__, name) for module in modules for name in ("decide", "forward")]
        self._snapshot = Snapshot(modules, [(network.__dict__, "coding"), *own])
        self.arguments = None if any(name in owner for owner, name in own) else _arguments(network)

    def holds(self) -> bool:
        """Tell whether the network still has the layers and the coding of the plan."""
        return self._snapshot.holds()

    def is_hooked(self) -> bool:
        """Tell whether forward hooks observe a layer."""
        return self._snapshot.is_hooked()


_PLANS: WeakKeyDictionary[ConvertedNetwork, _Plan] = WeakKeyDictionary()


def decide_at_once(network: ConvertedNetwork, features: np.ndarray) -> np.ndarray | None:
    """
    Decide from rest.

    :param network: converted network
    :param features: features, ``[N, K]``, contiguous, float32
    :return: Q-values, ``[N, actions]``; None where the network must run itself, or raise
    """
    plan = _PLANS.get(network)
    if plan is None or not plan.holds():
        plan = _PLANS[network] = _Plan(network)
    if plan.arguments is None or plan.is_hooked():
        return None
    if len(features) * network.coding.time_steps > MAX_ROWS or features.shape[1] != network.layers[0].in_features:
        return None
    from sb3_spiking.snn.execution.coding_kernels import decide

    q_values, finite = decide(features, *plan.arguments, network.output_scale.item())
    return q_values if finite else None


def _arguments(network: ConvertedNetwork) -> tuple[Any, ...] | None:
    """Return the arguments of the kernel but for features and scale; None where it does not apply."""
    integration = network.coding.integration()
    layers = []
    for layer in network.layers:
        weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
        if type(layer) is not nn.Linear or not _is_plain(weight) or not _is_plain(bias):
            return None
        layers.append((weight.data_ptr(), bias.data_ptr(), *weight.shape))
    fits = all(before[2] == after[3] for before, after in pairwise(layers))
    if type(network) is not ConvertedNetwork or integration is None or not fits or network.output_scale.numel() != 1:
        return None
    values, thresholds = (np.array(numbers, np.float32) for numbers in (integration.values, integration.thresholds))
    rest = (integration.initial, integration.hard, integration.signed)
    return np.array(layers, np.int64), integration.at_each_step, values, thresholds, *rest


def _is_plain(parameter: th.Tensor | None) -> TypeGuard[nn.Parameter]:
    return (
        type(parameter) is nn.Parameter
        and parameter.dtype is th.float32
        and parameter.device.type == "cpu"
        and parameter.is_contiguous()
    )
