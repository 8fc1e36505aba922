"""Trying several ways to convert an agent on the same states."""

from collections.abc import Callable, Mapping
from typing import Any

import torch as th

from sb3_spiking.conversion.calibration import Threshold, thresholds
from sb3_spiking.conversion.converter import checked_features
from sb3_spiking.conversion.methods import Method
from sb3_spiking.conversion.network import convert_layers
from sb3_spiking.conversion.policy import DenseQPolicy, Observation
from sb3_spiking.conversion.report import Agreement, agreement_of


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
    :param calibration: states to calibrate the thresholds on, ``[N, *shape]``, or these of each entry of a Dict
    :param test: states to decide on
    :param methods: the ways to convert, by any names
    :param progress: is called after each of them
    :return: the comparison for each name
    :raises ValueError: if the observations are not the agent's, or not finite
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
