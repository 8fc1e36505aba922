"""
Acting on images: decisions of networks with convolutions, in a few kernel calls a layer.

[`acting`][sb3_spiking.snn.acting] takes the other networks at once. The modules run themselves where the kernels do not
apply, as there: other devices and precisions, large batches, gradients, other types of modules and parameters, hooks,
counters and tracers.
"""

from typing import Any, TypeGuard

import numpy as np
import torch as th
from torch import nn
from torch.nn import functional

from sb3_spiking.snn.current_norm import EPSILON, CurrentNorm
from sb3_spiking.snn.execution.backends import PLAIN_TENSORS
from sb3_spiking.snn.execution.choose import Way, adds_plainly, choose_neurons, convolves_plainly
from sb3_spiking.snn.execution.dynamics import Dynamics
from sb3_spiking.snn.inputs import ImageInput
from sb3_spiking.snn.layers import SpikingLayer
from sb3_spiking.snn.network_plan import Network
from sb3_spiking.snn.observers import is_watched, operations_are_watched

MAX_ROWS = 64
"""Largest number of observations times time steps."""

FEW_ROWS = 8
"""Largest number of rows of a matrix product in a kernel; with more rows torch's is faster."""

_NONE = np.empty(0, np.float32)


def decide(network: Network, features: th.Tensor) -> th.Tensor | None:
    """
    Decide for a few observations, without gradients.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: output of the network, ``[N, out_dim]``; None where the modules must run themselves
    :raises ValueError: if a feature is NaN or infinite
    """
    encoder, dense = network.encoder, list(network.layers)
    if type(encoder) is not ImageInput or th.is_grad_enabled() or operations_are_watched() or is_watched(encoder):
        return None
    if not 0 < len(features) * network.options.time_steps <= MAX_ROWS:
        return None
    if features.shape[1:] != (network.size,) or not _is_plain(features):
        return None
    convolutions = list(encoder.layers)
    neurons = [dynamics for layer in (*convolutions, *dense) if (dynamics := _neurons(layer, features)) is not None]
    plain = all(convolves_plainly(layer.synapses) for layer in convolutions)
    plain = plain and all(adds_plainly(layer.synapses) for layer in dense)
    if not plain or len(neurons) != len(convolutions) + len(dense):
        return None
    signal = encoder.encoder(features)
    steps, time_steps = len(signal.values), signal.time_steps
    spikes = signal.values.detach().flatten(0, 1).unflatten(1, encoder.shape)
    for layer, dynamics in zip((*convolutions, *dense), neurons, strict=True):
        currents = _currents(layer.synapses, spikes, steps)
        spikes = _fire(layer.current_norm, dynamics, currents, steps, time_steps)
        steps = time_steps
    return network.output(network.decoder(spikes.unflatten(0, (time_steps, -1))))


def warm_up(network: Network) -> None:
    """
    Compile the kernels of a network with images, so that no decision waits for it.

    :param network: spiking network
    """
    from sb3_spiking.snn.execution import layer_kernels

    if type(network.encoder) is not ImageInput:
        return
    one = th.zeros(1, 1)
    layer_kernels.product(one.numpy(), one.numpy(), one[0].numpy(), one.clone().numpy())
    for layer in network.layers:
        dynamics = _neurons(layer, one)
        if dynamics is not None:
            _fire(layer.current_norm, dynamics, th.zeros(1, layer.synapses.out_features), 1, 1)


def _neurons(layer: nn.Module, features: th.Tensor) -> Dynamics | None:
    """Return the neurons of a layer as kernels run them; None where the layer must run itself."""
    if type(layer) is not SpikingLayer or layer.product_dtype is not None or is_watched(layer):
        return None
    norm = layer.current_norm
    if type(norm) not in (nn.Identity, CurrentNorm) or is_watched(norm):
        return None
    sizes = {
        len(parameter) if _is_plain(parameter) else None
        for parameter in (*layer.synapses._parameters.values(), *norm._parameters.values())
    }
    if len(sizes) != 1 or None in sizes:
        return None
    execution = choose_neurons(layer.neuron, features, layer.feedback)
    return execution.dynamics if execution.way is Way.NEURONS else None


def _is_plain(tensor: Any) -> TypeGuard[th.Tensor]:
    """Tell whether kernels read a tensor; they check nothing."""
    plain = type(tensor) in PLAIN_TENSORS and tensor.dtype is th.float32 and tensor.device.type == "cpu"
    return plain and tensor.is_contiguous()


def _currents(synapses: Any, spikes: th.Tensor, steps: int) -> th.Tensor:
    """Return currents of some steps, ``[steps * N, ..., neurons]`` in memory, channels-last for images."""
    from sb3_spiking.snn.execution import layer_kernels, sparse_convolutions

    if type(synapses) is nn.Conv2d:
        images = spikes.contiguous(memory_format=th.channels_last)
        convolution = sparse_convolutions.convolution
        return convolution(images, steps, synapses.weight, synapses.bias, synapses.stride)  # type: ignore[arg-type]
    spikes, weight, bias = spikes.flatten(1), synapses.weight.detach(), synapses.bias.detach()
    if len(spikes) > FEW_ROWS or spikes.shape[1:] != weight.shape[1:]:
        return functional.linear(spikes, weight, bias)
    currents = spikes.new_empty(len(spikes), len(weight))
    layer_kernels.product(spikes.numpy(), weight.numpy(), bias.numpy(), currents.numpy())
    return currents


def _fire(norm: nn.Module, dynamics: Dynamics, currents: th.Tensor, steps: int, time_steps: int) -> th.Tensor:
    """Return the spikes ``[T * N, neurons, ...]`` of currents ``[steps * N, neurons, ...]``, which are overwritten."""
    from sb3_spiking.snn.execution import layer_kernels
    from sb3_spiking.snn.execution.numba_loops import constants_of, numbers

    values = currents.detach().movedim(1, -1).contiguous()
    spikes = values.new_empty(time_steps * len(values) // steps, *values.shape[1:])
    gain, bias = (parameter.detach().numpy() for parameter in norm.parameters()) if norm._parameters else (_NONE, _NONE)
    layer_kernels.neurons(dynamics.equations)(
        values.numpy().reshape(len(values), -1, values.shape[-1]),
        gain,
        bias,
        np.float32(EPSILON),
        steps,
        spikes.numpy().reshape(time_steps, -1),
        np.float32(dynamics.threshold),
        numbers(constants_of(dynamics), np.dtype(np.float32)),
    )
    return spikes.movedim(-1, 1)
