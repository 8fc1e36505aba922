"""
PopSAN in the order of operations of its papers' code: time steps in the outer loop, torch calls for every operation.

Written from the equations of Tang et al. (2020) around the parameters of our network; for comparison only.
"""

from typing import Any

import torch as th
from torch import nn
from torch.nn import functional

from sb3_spiking.snn import SpikingNetwork
from sb3_spiking.snn.encoders import DeterministicEncoder

CURRENT_DECAY, MEMBRANE_DECAY, THRESHOLD, ENCODER_THRESHOLD = 0.5, 0.75, 0.5, 0.999


class _Spike(th.autograd.Function):
    """Spike function with a rectangular surrogate gradient of height 1."""

    @staticmethod
    def forward(ctx: Any, membrane: th.Tensor) -> th.Tensor:
        ctx.save_for_backward(membrane)
        return (membrane >= THRESHOLD).float()

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> th.Tensor:
        (membrane,) = ctx.saved_tensors
        return grad_spikes * ((membrane - THRESHOLD).abs() < 0.5).float()


class _EncoderSpike(th.autograd.Function):
    """Encoder spikes with a straight-through gradient."""

    @staticmethod
    def forward(ctx: Any, membrane: th.Tensor) -> th.Tensor:
        return (membrane >= ENCODER_THRESHOLD).float()

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> th.Tensor:
        return grad_spikes


def decide(network: SpikingNetwork, observations: th.Tensor) -> th.Tensor:
    """
    Compute the actions of a network.

    :param network: network with the default neurons and encoder of ``SpikingOptions``
    :param observations: network inputs, ``[N, obs_dim]``
    :return: actions, ``[N, out_dim]``
    """
    encoder, decoder = network.encoder, network.decoder
    assert isinstance(encoder, DeterministicEncoder)
    distance = (observations.unsqueeze(-1) - encoder.mean) / encoder.std
    activity = th.exp(-0.5 * distance.square()).flatten(start_dim=1)
    encoder_membrane = th.zeros_like(activity)
    synapses = [module for module in nn.ModuleList(network.layers).modules() if isinstance(module, nn.Linear)]
    states = [[activity.new_zeros(len(observations), linear.out_features)] * 3 for linear in synapses]
    total = th.zeros_like(states[-1][0])
    for _ in range(encoder.time_steps):
        encoder_membrane = encoder_membrane + activity
        spikes = _EncoderSpike.apply(encoder_membrane)
        encoder_membrane = encoder_membrane - ENCODER_THRESHOLD * spikes
        for index, linear in enumerate(synapses):
            current, membrane, fired = states[index]
            current = current * CURRENT_DECAY + linear(spikes)
            membrane = membrane * MEMBRANE_DECAY * (1.0 - fired) + current
            spikes = _Spike.apply(membrane)
            states[index] = [current, membrane, spikes]
        total = total + spikes
    rates = (total / encoder.time_steps).unflatten(1, (decoder.out_dim, -1))
    decoded = functional.conv1d(rates, decoder.weight.unsqueeze(1), decoder.bias, groups=decoder.out_dim)
    return network.output(decoded.squeeze(-1))
