"""
The same neurons as a loop of torch operations.

Slow, and only run where a kernel cannot: where a backward pass itself is to be differentiated (TRPO's curvature), and
where torch's operations are traced, exported, compiled or transformed.
"""

from collections.abc import Callable

import torch as th
from spikingjelly.activation_based import surrogate

from sb3_spiking.snn.kernels.equations import Charge, Equations, SurrogateShape

SURROGATES: dict[SurrogateShape, type[surrogate.SurrogateFunctionBase]] = {
    SurrogateShape.RECT: surrogate.Rect,
    SurrogateShape.TRIANGLE: surrogate.PiecewiseQuadratic,
    SurrogateShape.ATAN: surrogate.ATan,
    SurrogateShape.SIGMOID: surrogate.Sigmoid,
}


SpikeFunction = Callable[[th.Tensor], th.Tensor]
"""Membrane minus threshold to spikes of 0 or 1."""


def fire(
    equations: Equations,
    current: th.Tensor,
    leak: th.Tensor | None,
    spike_function: SpikeFunction | None = None,
    feedback: Callable[[th.Tensor], th.Tensor] | None = None,
) -> th.Tensor:
    """
    Run a layer of neurons from rest over all the time steps; differentiable any number of times.

    :param equations: the neuron
    :param current: input current, ``[T, N, ...]``
    :param leak: the learnt leak, a scalar tensor, if the neuron has one
    :param spike_function: how to fire; None for SpikingJelly's surrogate
    :param feedback: current that the spikes of a step add to the next step, ``[N, ...]`` to ``[N, ...]``
    :return: spikes of the same shape
    """
    if spike_function is None:
        spike_function = SURROGATES[equations.surrogate](alpha=equations.alpha)
    k = equations.constants
    c = u = v = current[0] * 0.0  # zeros_like would be a constant of an ONNX model, for one batch size
    spikes: list[th.Tensor] = []
    for x in current.unbind():
        if feedback is not None and spikes:
            x = x + feedback(spikes[-1])
        if equations.charge == Charge.CUBA:
            c = c * k[0] + x
            h = v * k[1] + c
        elif equations.charge == Charge.LEAK:
            h = v - v / k[0] + x
        elif leak is not None:
            h = v - v * leak + x
        elif equations.charge == Charge.DYNAMIC:
            c = c * k[0] + x
            h = v * v - u + c
            u = u + (h * k[1] - u * k[2])
        else:
            h = v + x
        s = spike_function(h - equations.threshold)
        reset = s.detach() if equations.detach_reset else s
        v = h - reset * equations.threshold if equations.soft_reset else h * (1.0 - reset)
        if equations.charge == Charge.DYNAMIC:
            v = v + reset * k[3]
            u = u + reset * k[4]
        spikes.append(s)
    return th.stack(spikes)
