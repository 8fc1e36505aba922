"""
The equations of the neurons as a plain loop of torch operations.

It is slow, and runs only where a kernel cannot: where a backward pass is itself differentiated (TRPO's curvature), and
where torch's operations are traced, exported, compiled or transformed.
"""

from collections.abc import Callable

import torch as th

from sb3_spiking.snn.execution.dynamics import Dynamics

SpikeFunction = Callable[[th.Tensor], th.Tensor]
"""Membrane minus threshold to spikes of 0 or 1."""


def run(
    dynamics: Dynamics,
    current: th.Tensor,
    spike_function: SpikeFunction,
    feedback: Callable[[th.Tensor], th.Tensor] | None = None,
) -> th.Tensor:
    """
    Run neurons from rest over all the time steps; differentiable any number of times.

    :param dynamics: neurons
    :param current: input current, ``[T, N, ...]``
    :param spike_function: function of the margin that returns spikes with the surrogate's gradient
    :param feedback: current that the spikes of a step add to the next step, ``[N, ...]`` to ``[N, ...]``
    :return: spikes of the same shape
    """
    equations, threshold = dynamics.equations, dynamics.threshold
    constants = dynamics.constants if dynamics.learnt is None else (*dynamics.constants, dynamics.learnt)
    # zeros_like would become a constant of an ONNX model, for one batch size.
    state = (current[0] * 0.0,) * equations.variables
    spikes: list[th.Tensor] = []
    for x in current.unbind():
        if feedback is not None and spikes:
            x = x + feedback(spikes[-1])
        state = equations.charge(state, x, constants)
        spikes.append(spike_function(equations.margin(state, threshold, constants)))
        reset = spikes[-1].detach() if dynamics.detach_reset else spikes[-1]
        state = equations.reset.forward(state, reset, threshold, constants)
    return th.stack(spikes)
