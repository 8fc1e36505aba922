"""
Acting: decisions without gradients in one kernel call, for any number of layers.

The kernel computes the equations of the modules, from the memory of their parameters (``network_plan``). The modules
run themselves where it does not apply, with gradients, and under hooks, counters and tracers of torch's operations.
Images are decided layer by layer (``acting_images``).
"""

import numpy as np
import torch as th

from sb3_spiking.snn.execution.dynamics import dynamics_of
from sb3_spiking.snn.execution.kept import NOTHING, Kept
from sb3_spiking.snn.network_plan import (
    CURRENTS,
    GIVEN,
    UNCHANGED,
    Arrays,
    Encoding,
    Network,
    Normalization,
    Plan,
    Segment,
    pays,
    plan_of,
    planned,
    segments_of,
)
from sb3_spiking.snn.signal import Signal


def decide(network: Network, features: th.Tensor) -> th.Tensor | None:
    """
    Decide for some observations, without gradients.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: output of the network, ``[N, out_dim]``; None where the modules must run themselves, or raise
    """
    found = "" if th.is_grad_enabled() else planned(network, features)
    if isinstance(found, str):
        return None
    plan, arrays, segments = found
    observations, encoding = features.detach().contiguous().numpy(), arrays.encoding
    if encoding is None:
        signal = Signal.of(network.encoder(features))
        steps = len(signal.values)
        if steps not in (1, network.options.time_steps):
            return None
        encoding = GIVEN if steps == network.options.time_steps else CURRENTS
        observations = signal.values.detach().flatten(0, 1).contiguous().numpy()
    outputs = run(arrays, segments, observations, UNCHANGED, encoding)
    return None if outputs is None else _finished(network, plan, arrays, outputs)


def decide_at_once(network: Network, observations: np.ndarray, normalization: Normalization) -> np.ndarray | None:
    """
    Normalise observations and decide, without a tensor.

    :param network: spiking network
    :param observations: observations, ``[N, size]``, contiguous, float32
    :param normalization: normalisation of the observations, with ``size`` means if any
    :return: output of the network, ``[N, out_dim]``; None where the modules must run themselves, or raise
    """
    plan = plan_of(network)
    arrays = plan.arrays
    rows = len(observations) * network.options.time_steps
    if arrays is None or arrays.encoding is None or not pays(rows) or plan.snapshot.is_hooked():
        return None
    if observations.shape[1] != network.size or arrays.readout is arrays.only_spikes or plan.output is not None:
        return None
    segments = segments_of(plan.nodes)
    return None if isinstance(segments, str) else run(arrays, segments, observations, normalization, arrays.encoding)


def run(
    arrays: Arrays,
    segments: tuple[Segment, ...],
    inputs: np.ndarray,
    normalization: Normalization,
    encoding: Encoding,
    memory: Kept = NOTHING,
) -> np.ndarray | None:
    """
    Run all the layers.

    :param arrays: arrays of the network
    :param segments: layers
    :param inputs: features, ``[N, size]``, or inputs of the first layer at each step, ``[T * N, features]``
    :param normalization: normalisation of the features
    :param encoding: input stage
    :param memory: memory for a backward pass, of a network of one segment
    :return: what is decoded, ``[N, out_dim]``, or spikes, ``[T * N, neurons]``; None if a feature is not finite
    """
    if arrays.rounded:
        _round_weights(arrays)
    last = len(segments) - 1
    for index, (kernel, layers, numbers) in enumerate(segments):
        readout = arrays.readout if index == last else arrays.only_spikes
        inputs, finite = kernel(inputs, *normalization, *encoding, arrays.layers[layers], numbers, *readout, memory)
        if not finite:
            return None
        normalization, encoding = UNCHANGED, GIVEN
    return inputs


def _round_weights(arrays: Arrays) -> None:
    """Round the weights anew, since nobody can tell whether they have changed."""
    from sb3_spiking.snn.execution.rounded_products import round_to_bfloat16

    for weight, copy in arrays.rounded:
        round_to_bfloat16(weight, copy)


def _finished(network: Network, plan: Plan, arrays: Arrays, outputs: np.ndarray) -> th.Tensor:
    """Run the modules behind the kernels."""
    decided = th.from_numpy(outputs)
    if arrays.readout is arrays.only_spikes:
        return network.output(network.decoder(decided.unflatten(0, (network.options.time_steps, -1))))
    return decided if plan.output is None else plan.output(decided)


def reason_against(network: Network, features: th.Tensor) -> str:
    """
    Return the reason why a network does not decide at once.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: reason in words; empty where it does
    """
    if th.is_grad_enabled():
        return "gradients are wanted"
    found = planned(network, features)
    return found if isinstance(found, str) else ""


def warm_up(network: Network) -> None:
    """
    Compile the kernels of a network, or load them from numba's cache, so that no decision waits for it.

    :param network: spiking network
    """
    from sb3_spiking.snn.execution import numba_loops
    from sb3_spiking.snn.execution.cost_measurement import machine, measure
    from sb3_spiking.snn.execution.costs import prepare
    from sb3_spiking.snn.execution.equation_check import check_equations

    numba_loops.warm_up()
    prepare(numba_loops.cache_folder(), machine, measure)
    for layer in network.layers:
        dynamics = dynamics_of(layer.neuron)
        if not isinstance(dynamics, str):
            numba_loops.warm_up_neuron(dynamics)
            check_equations(layer.neuron, dynamics)
    with th.no_grad():
        decide(network, th.zeros(1, network.size))
