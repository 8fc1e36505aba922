"""
PopSAN as its papers' code runs it: the time steps are the outer loop, every operation is a call of torch.

Written from the equations of Tang et al. (2020), with the parameters of one of our networks; for comparison only.
"""

from typing import Any

import torch as th
from torch import nn
from torch.nn import functional

from sb3_spiking.snn import SpikingNetwork
from sb3_spiking.snn.encoders import DeterministicEncoder

CURRENT_DECAY, MEMBRANE_DECAY, THRESHOLD, ENCODER_THRESHOLD = 0.5, 0.75, 0.5, 0.999


class _Spike(th.autograd.Function):
    """A rectangular surrogate of height 1."""

    @staticmethod
    def forward(ctx: Any, membrane: th.Tensor) -> th.Tensor:
        ctx.save_for_backward(membrane)
        return (membrane >= THRESHOLD).float()

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> th.Tensor:
        (membrane,) = ctx.saved_tensors
        return grad_spikes * ((membrane - THRESHOLD).abs() < 0.5).float()


class _EncoderSpike(th.autograd.Function):
    """The derivative of an encoder spike is 1."""

    @staticmethod
    def forward(ctx: Any, membrane: th.Tensor) -> th.Tensor:
        return (membrane >= ENCODER_THRESHOLD).float()

    @staticmethod
    def backward(ctx: Any, grad_spikes: th.Tensor) -> th.Tensor:
        return grad_spikes


def decide(network: SpikingNetwork, observations: th.Tensor) -> th.Tensor:
    """
    Decide as the network does.

    :param network: with the defaults of ``SpikingOptions``, its neurons and its encoder
    :param observations: ``[N, obs_dim]``
    :return: ``[N, out_dim]``
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
