"""Comparison of several conversions of an agent on the same states."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch as th

from sb3_spiking.conversion.agreement import Agreement, agreement_of
from sb3_spiking.conversion.calibration import Threshold, thresholds
from sb3_spiking.conversion.converter import checked_features
from sb3_spiking.conversion.methods import Method
from sb3_spiking.conversion.network import convert_layers
from sb3_spiking.conversion.policy import DenseQPolicy
from sb3_spiking.observations import Observation

TIME_STEPS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
THRESHOLDS = ("max*2", "max*1.5", "max", "99.9%", "99%", "95%")


@th.no_grad()
def sweep(
    dqn: DenseQPolicy,
    calibration: Observation,
    test: Observation,
    methods: Mapping[str, Method],
    progress: Callable[[], Any] = lambda: None,
) -> dict[str, Agreement]:
    """
    Compare the decisions of several conversions with the DQN's; each decision is made from rest.

    :param dqn: the DQN
    :param calibration: calibration states of the thresholds, ``[N, *shape]``, or a dict of such arrays
    :param test: states of the decisions
    :param methods: methods of conversion, by any names
    :param progress: function called after each method, without arguments
    :return: agreement of each method
    :raises ValueError: if the observations do not fit the agent, or are not finite
    """
    features, tested = (checked_features(dqn, observations) for observations in (calibration, test))
    wanted = dqn.network(tested).numpy()
    calibrated: dict[Threshold, list[th.Tensor]] = {}
    results = {}
    for name, method in methods.items():
        if method.threshold not in calibrated:
            calibrated[method.threshold] = thresholds(dqn.network, features, method.threshold)
        network = convert_layers(dqn.network, calibrated[method.threshold], method.coding)
        values, sent = network.readouts(tested)
        results[name] = agreement_of(wanted, values.numpy(), sent.numpy())
        progress()
    return results


def over_time_steps(method: Method, longest: int) -> dict[str, Method]:
    """
    Return a method with other numbers of time steps, its own among them.

    :param method: the method
    :param longest: limit of the other numbers
    :return: allowed methods by their time steps, in ascending order
    """
    counts = sorted({method.coding.time_steps, *(steps for steps in TIME_STEPS if steps <= longest)})
    methods = {}
    for steps in counts:
        try:
            coding = dataclasses.replace(method.coding, time_steps=steps)
        except ValueError:  # more digits than float32 has, or no step left after the settling
            continue
        methods[str(steps)] = dataclasses.replace(method, coding=coding)
    return methods


def over_thresholds(method: Method) -> dict[str, Method]:
    """Return a method with other thresholds, by their rules."""
    rules = {text: Threshold.parse(text, method.threshold.per_neuron) for text in THRESHOLDS}
    return {text: dataclasses.replace(method, threshold=rule) for text, rule in rules.items()}
