"""
Spiking networks: an encoder, layers of spiking neurons, a decoder.

One decision is one call, from rest to rest: a network takes a batch of observations, runs ``T`` steps on
``[T, N, ...]`` tensors and holds no state afterwards.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_spiking.snn import kernels, neurons
from sb3_spiking.snn.arguments import choice, from_kwargs, hidden_sizes, positive_int
from sb3_spiking.snn.decoders import PopulationDecoder
from sb3_spiking.snn.encoders import ENCODERS, Range
from sb3_spiking.snn.neurons import NEURONS, Neuron
from sb3_spiking.snn.surrogates import SURROGATES, Surrogate, window

PRECISIONS: dict[str, th.dtype | None] = {"float32": None, "bfloat16": th.bfloat16}


@dataclass(frozen=True)
class PopSANOptions:
    """
    The keyword arguments of a PopSAN: names, numbers and lists only, so that they survive as JSON.

    The defaults are those of the paper (Tang et al., CoRL 2020).

    :param time_steps: steps per decision ``T``, >= 1
    :param neuron: ``"cuba_lif"``, ``"lif"``, ``"plif"`` or ``"if"``
    :param neuron_kwargs: its constants, for example ``{"threshold": 0.5, "reset": "soft"}``
    :param surrogate: ``"rect"``, ``"triangle"``, ``"atan"`` or ``"sigmoid"``
    :param surrogate_kwargs: its ``width`` (rect, triangle) or ``slope`` (atan, sigmoid)
    :param encoder: ``"deterministic"``, ``"poisson"`` or ``"analog"``
    :param encoder_population: neurons per observation dimension, >= 1
    :param encoder_std: width of the receptive fields at the start, one number or one per dimension
    :param decoder_population: output neurons per action dimension, >= 1
    :param mean_range: ``(low, high)`` of the receptive fields' means, or one such pair per dimension
    :param precision: ``"float32"``, or ``"bfloat16"`` for the matrix products (membranes stay float32)
    :raises ValueError: if a value is not allowed; the message names the argument
    """

    time_steps: int = 5
    neuron: str = "cuba_lif"
    neuron_kwargs: Mapping[str, Any] | None = None
    surrogate: str = "rect"
    surrogate_kwargs: Mapping[str, Any] | None = None
    encoder: str = "deterministic"
    encoder_population: int = 10
    encoder_std: float | Sequence[float] = math.sqrt(0.15)
    decoder_population: int = 10
    mean_range: Range = (-3.0, 3.0)
    precision: str = "float32"

    def __post_init__(self) -> None:
        positive_int("time_steps", self.time_steps)
        positive_int("encoder_population", self.encoder_population)
        positive_int("decoder_population", self.decoder_population)
        choice("encoder", self.encoder, ENCODERS)
        choice("precision", self.precision, PRECISIONS)
        self.neuron_options()
        self.surrogate_options()

    def neuron_options(self) -> Neuron:
        """Return the neuron with its constants."""
        return from_kwargs("neuron_kwargs", choice("neuron", self.neuron, NEURONS), self.neuron_kwargs)

    def surrogate_options(self) -> Surrogate:
        """Return the surrogate with its constants."""
        return from_kwargs("surrogate_kwargs", choice("surrogate", self.surrogate, SURROGATES), self.surrogate_kwargs)


@dataclass(frozen=True)
class LayerRecord:
    """
    What one population did during a batch of decisions, on the CPU and without a graph.

    :param name: ``"encoder"``, ``"hidden0"``, ..., ``"output"``
    :param spikes: ``[T, N, features]``; the analog encoder's are its constant activity
    :param fan_out: synapses that leave each neuron
    :param margin: membrane before the reset minus threshold, of the same shape; None for the encoder
    :param surrogate_window: how far from the threshold the surrogate reaches
    """

    name: str
    spikes: th.Tensor
    fan_out: int
    margin: th.Tensor | None = None
    surrogate_window: float = math.inf


class SpikingLayer(nn.Module):
    """
    A linear map of spikes and a layer of neurons, over all the time steps.

    :param in_features: number of inputs
    :param out_features: number of neurons
    :param neuron: which neuron
    :param surrogate: which surrogate gradient
    :param precision: precision of the matrix product, a key of ``PRECISIONS``
    """

    def __init__(
        self, in_features: int, out_features: int, neuron: Neuron, surrogate: Surrogate, precision: str = "float32"
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.neuron = neuron.build(surrogate)
        self._gemm_dtype = choice("precision", precision, PRECISIONS)

    def current(self, inputs: th.Tensor) -> th.Tensor:
        """
        Return the input current of the neurons.

        :param inputs: ``[T, N, in_features]``; one that is constant over the steps (expanded) costs one product
        :return: ``[T, N, out_features]``
        """
        if inputs.shape[0] > 1 and inputs.stride(0) == 0:
            return self.current(inputs[:1]).expand(inputs.shape[0], -1, -1)
        if self._gemm_dtype is None:
            return self.linear(inputs)
        weight, bias = self.linear.weight.to(self._gemm_dtype), self.linear.bias.to(self._gemm_dtype)
        return F.linear(inputs.to(self._gemm_dtype), weight, bias).to(inputs.dtype)

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        """
        Run all the time steps.

        :param inputs: ``[T, N, in_features]``
        :return: spikes, ``[T, N, out_features]``
        """
        return neurons.fire(self.neuron, self.current(inputs))


class PopSAN(nn.Module):
    """
    Population-coded spiking actor network (Tang et al., CoRL 2020).

    Gaussian population encoder, hidden layers of spiking neurons, an output population per action dimension
    that spikes as well, a rate decoder and a tanh. All the layers advance within the same step.

    :param obs_dim: number of observation dimensions
    :param action_dim: number of action dimensions
    :param net_arch: sizes of the hidden layers, at least one
    :param options: everything else; the default is the paper's network
    :raises ValueError: if a size is < 1 or a range does not fit ``obs_dim``
    """

    layers: Sequence[SpikingLayer]

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        net_arch: Sequence[int] = (256, 256),
        options: PopSANOptions | None = None,
    ) -> None:
        super().__init__()
        options = options or PopSANOptions()
        self.options = options
        self.encoder = ENCODERS[options.encoder](
            obs_dim, options.encoder_population, options.time_steps, options.mean_range, options.encoder_std
        )
        self.decoder = PopulationDecoder(action_dim, options.decoder_population)
        neuron, surrogate = options.neuron_options(), options.surrogate_options()
        sizes = [self.encoder.features, *hidden_sizes("net_arch", net_arch), self.decoder.features]
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            SpikingLayer(fan_in, size, neuron, surrogate, options.precision)
            for fan_in, size in itertools.pairwise(sizes)
        )
        kernels.warm_up()

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """
        Decide for a batch of observations, from rest to rest.

        :param observations: ``[N, obs_dim]``, normalised, finite
        :return: actions in (-1, 1), ``[N, action_dim]``
        :raises ValueError: if an observation is NaN or infinite
        """
        spikes = self.encoder(observations)
        for layer in self.layers:
            spikes = layer(spikes)
        return th.tanh(self.decoder(spikes))

    @th.no_grad()
    def record(self, observations: th.Tensor) -> list[LayerRecord]:
        """
        Decide, and return what every population did: for plots, monitors and operation counts.

        :param observations: ``[N, obs_dim]``, normalised, finite
        :return: the encoder, the hidden layers, the output population
        :raises ValueError: if an observation is NaN or infinite
        """
        spikes = self.encoder(observations)
        fan_outs = [layer.linear.out_features for layer in self.layers] + [1]
        records = [LayerRecord("encoder", spikes.cpu(), fan_outs[0])]
        for index, layer in enumerate(self.layers):
            name = "output" if index == len(self.layers) - 1 else f"hidden{index}"
            fired, membrane = neurons.record(layer.neuron, layer.current(spikes))
            margin = membrane - layer.neuron.v_threshold
            reach = window(layer.neuron.surrogate_function)
            records.append(LayerRecord(name, fired, fan_outs[index + 1], margin, reach))
            spikes = fired.to(spikes)
        return records
