"""
Spiking networks: an input stage, layers of spiking neurons, a decoder.

One decision is one call, from rest to rest: a network takes a batch of features, runs ``T`` steps on ``[T, N, ...]``
tensors and holds no state afterwards.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch as th
from torch import nn

from sb3_spiking.arguments import hidden_sizes
from sb3_spiking.snn import acting, acting_images, learning
from sb3_spiking.snn.constants import SavesConstants
from sb3_spiking.snn.counterpart import ann_macs
from sb3_spiking.snn.decoders import Decoder
from sb3_spiking.snn.description import Description, Readout, Stage, record
from sb3_spiking.snn.inputs import Part, describe_input, make_input
from sb3_spiking.snn.layers import SpikingLayer, hidden_layer, output_layer
from sb3_spiking.snn.options import SpikingOptions
from sb3_spiking.snn.precisions import warn_where_emulated
from sb3_spiking.snn.recording import Recording
from sb3_spiking.snn.splitting import tiles

NOT_SYMBOLIC = (
    "cannot read the loops of a spiking network; record it on an example instead: th.jit.trace(module, observations), "
    "th.export.export or th.onnx.export"
)


class SpikingNetwork(SavesConstants):
    """
    Encoder or spiking convolutions, hidden layers, output populations if there are any, decoder.

    All the layers advance within the same step. With the default options this is PopSAN's actor (Tang et al., CoRL
    2020), whose output goes through a tanh.

    :param inputs: number of features, or their parts in order
    :param out_dim: number of outputs
    :param net_arch: sizes of the hidden layers, at least one
    :param options: neurons, encoder, decoder and all else
    :param output: output activation, for example ``nn.Tanh()``
    :raises ValueError: if a size is < 1 or an option does not fit the features
    """

    layers: Sequence[SpikingLayer]

    def __init__(
        self,
        inputs: int | Sequence[Part],
        out_dim: int,
        net_arch: Sequence[int] = (256, 256),
        options: SpikingOptions | None = None,
        output: nn.Module | None = None,
    ) -> None:
        super().__init__()
        options = options or SpikingOptions()
        self.options = options
        parts = [Part("", (inputs,))] if isinstance(inputs, int) else inputs
        self.parts = tuple(parts)
        self.size = sum(part.size for part in parts)
        self.encoder = make_input(parts, options)
        hidden = hidden_sizes("net_arch", net_arch)
        self.ann_macs = ann_macs(parts, hidden, out_dim, options.conv_arch)
        population = options.decoder_population
        outputs = [] if population is None else [out_dim * population]
        sizes: list[int] = [self.encoder.features, *hidden, *outputs]  # type: ignore[list-item]
        self.decoder = Decoder(sizes[-1], out_dim, population, options.decoder_options())
        synapses = [nn.Linear(fan_in, size) for fan_in, size in itertools.pairwise(sizes)]
        layers = [
            hidden_layer(f"hidden{index}", linear, options) for index, linear in enumerate(synapses[: len(hidden)])
        ]
        layers += [output_layer(linear, out_dim, options) for linear in synapses[len(hidden) :]]
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.output = output or nn.Identity()
        acting.warm_up(self)
        acting_images.warm_up(self)
        learning.warm_up(self, self._decode)

    def constants(self) -> dict[str, Any]:
        return self.options.constants()

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Decide for a batch of observations, from rest to rest.

        :param features: ``[N, size]``, finite
        :return: ``[N, out_dim]``
        :raises ValueError: if a feature is NaN or infinite
        """
        if isinstance(features, th.fx.Proxy):
            raise TypeError(f"torch.fx {NOT_SYMBOLIC}")
        decided = acting_images.decide(self, features)
        if decided is None:
            decided = acting.decide(self, features)
        if decided is not None:
            return decided
        decoded = [self._learn(tile) for tile in tiles(self, features)]
        return self.output(th.cat(decoded) if len(decoded) > 1 else decoded[0])

    def _learn(self, features: th.Tensor) -> th.Tensor:
        """Return the decoded spikes of a batch, ``[N, out_dim]``, at once where that is possible."""
        decoded = learning.decode(self, features, self._decode) if th.is_grad_enabled() else None
        if decoded is None:
            return self._decode(features)
        if any(layer.product_dtype is not None for layer in self.layers):
            warn_where_emulated()
        return decoded

    def _decode(self, features: th.Tensor) -> th.Tensor:
        """Return the decoded spikes of a batch, ``[N, out_dim]``."""
        spikes = self.encoder(features)
        for layer in self.layers:
            spikes = layer(spikes)
        return self.decoder(spikes)

    def __prepare_scriptable__(self) -> nn.Module:
        raise TypeError(f"th.jit.script {NOT_SYMBOLIC}")

    def describe(self) -> Description:
        """Return the description of the network; it refers to the modules themselves, not to copies."""
        sources, stages, last = describe_input(self.encoder, self.parts)
        names = last
        for layer in self.layers:
            stages.append(layer.stage(names))
            names = (layer.name,)
        stages.append(Stage("decoder", names, self.decoder))
        readout = Readout(self.decoder.statistic, self.output)
        return Description(self.options.time_steps, tuple(sources), tuple(stages), readout, self.ann_macs)

    @th.no_grad()
    def record(self, features: th.Tensor) -> Recording:
        """
        Decide, and record every population: for plots, monitors and operation counts.

        :param features: ``[N, size]``, finite
        :return: spikes and membranes of the populations, operations of the synapses
        :raises ValueError: if a feature is NaN or infinite
        """
        return record(self.describe(), features)


@dataclass(frozen=True)
class NetworkSpec:
    """
    Specification of a spiking network, without its sizes.

    :param parts: parts of the features, in their order; None for a vector of any size
    :param options: neurons, encoder, decoder and all else
    """

    parts: tuple[Part, ...] | None
    options: SpikingOptions

    def build(
        self, features_dim: int, out_dim: int, net_arch: Sequence[int], output: nn.Module | None = None
    ) -> SpikingNetwork:
        """
        Build the network.

        :param features_dim: number of features
        :param out_dim: number of outputs
        :param net_arch: sizes of the hidden layers, at least one
        :param output: output activation
        :return: the network
        """
        return SpikingNetwork(self.parts or features_dim, out_dim, net_arch, self.options, output)
