"""Keyword arguments of a spiking network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sb3_spiking.arguments import (
    Option,
    boolean,
    choice,
    finite_float,
    from_kwargs,
    option,
    plain,
    positive_int,
    probability,
)
from sb3_spiking.snn.convolutions import ConvArch
from sb3_spiking.snn.current_norm import CurrentNorm
from sb3_spiking.snn.decoders import DECODERS, Statistic
from sb3_spiking.snn.encoders import ENCODERS, Encoder, Range
from sb3_spiking.snn.firing_penalty import FiringPenalty
from sb3_spiking.snn.neurons import NEURONS, Neuron
from sb3_spiking.snn.precisions import PRECISIONS
from sb3_spiking.snn.surrogates import SURROGATES, Surrogate

MEMBRANE_NORMS: dict[str, type[CurrentNorm] | None] = {"none": None, "layer": CurrentNorm}
"""Name of a normalisation of the input currents -> its module."""


@dataclass(frozen=True)
class SpikingOptions:
    """
    The keyword arguments of a spiking network: names, numbers and lists only, so that they survive as JSON.

    The defaults are PopSAN (Tang et al., CoRL 2020). ``"package.module:Name"`` is a class of another package.

    :param time_steps: steps per decision ``T``, >= 1
    :param neuron: ``"cuba_lif"``, ``"lif"``, ``"plif"``, ``"if"``, ``"dynamic"``, ``"alif"`` or
        ``"package.module:Name"``
    :param neuron_kwargs: constants of the neuron, for example ``{"threshold": 0.5, "reset": "soft"}``
    :param surrogate: ``"rect"``, ``"triangle"``, ``"atan"``, ``"sigmoid"`` or ``"package.module:Name"``
    :param surrogate_kwargs: constants of the surrogate, ``width`` (rect, triangle) or ``slope`` (atan, sigmoid)
    :param encoder: encoder of vectors: ``"deterministic"``, ``"rounded"``, ``"poisson"`` or ``"analog"`` populations,
        or ``"direct"`` for the features themselves as constant currents, or ``"package.module:Name"``. Images always
        enter directly
    :param encoder_population: neurons per observation dimension, >= 1
    :param encoder_std: width of the receptive fields at initialisation, one number or one per dimension
    :param mean_range: range ``(low, high)`` of the receptive fields' means, or one such pair per dimension
    :param decoder: ``"rate"``, ``"accumulated"``, ``"last"``, ``"mean"``, ``"max"`` or ``"package.module:Name"``
    :param decoder_kwargs: constants of the decoder, ``membrane_decay`` of ``"last"``, ``"mean"`` and ``"max"``
    :param decoder_population: spiking output neurons per output dimension, >= 1; None to decode the last hidden
        layer with a dense map
    :param intra_connections: connect the neurons of each output population with each other
    :param conv_arch: layers for images: ``"nature"``, ``"small"`` or a list of ``[channels, kernel size, stride]``;
        by the size of the image if None
    :param membrane_norm: ``"layer"`` normalises the input currents of each convolution and hidden layer to the
        threshold, ``"none"`` does not
    :param precision: ``"float32"``, or ``"bfloat16"`` for the products (membranes stay float32)
    :param firing_penalty: weight of a penalty on the firing rate of each layer, in units of the algorithm's loss, see
        [`FiringPenalty`][sb3_spiking.snn.firing_penalty.FiringPenalty]; 0 for none
    :param firing_target: firing rate up to which nothing is penalised, in [0, 1]
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
    mean_range: Range = (-3.0, 3.0)
    decoder: str = "rate"
    decoder_kwargs: Mapping[str, Any] | None = None
    decoder_population: int | None = 10
    intra_connections: bool = False
    conv_arch: ConvArch = None
    membrane_norm: str = "none"
    precision: str = "float32"
    firing_penalty: float = 0.0
    firing_target: float = 0.1

    def __post_init__(self) -> None:
        for argument in fields(self):
            object.__setattr__(self, argument.name, plain(getattr(self, argument.name)))
        positive_int("time_steps", self.time_steps)
        positive_int("encoder_population", self.encoder_population)
        option("encoder", self.encoder, ENCODERS, Encoder)
        choice("membrane_norm", self.membrane_norm, MEMBRANE_NORMS)
        choice("precision", self.precision, PRECISIONS)
        boolean("intra_connections", self.intra_connections)
        if finite_float("firing_penalty", self.firing_penalty) < 0.0:
            raise ValueError(f"firing_penalty={self.firing_penalty!r} must be at least 0; 0 penalises nothing")
        probability("firing_target", self.firing_target)
        if self.decoder_population is not None:
            positive_int("decoder_population", self.decoder_population)
        elif self.intra_connections:
            raise ValueError("intra_connections=True needs output populations: decoder_population=None has none")
        self.neuron_options()
        self.surrogate_options()
        self.decoder_options()

    def penalty(self) -> FiringPenalty | None:
        """Return the penalty on firing rates; None without one."""
        return FiringPenalty(self.firing_penalty, self.firing_target) if self.firing_penalty else None

    def neuron_options(self) -> Neuron:
        """Return the neuron with its constants."""
        return _chosen("neuron", self.neuron, NEURONS, Neuron, self.neuron_kwargs)

    def surrogate_options(self) -> Surrogate:
        """Return the surrogate with its constants."""
        return from_kwargs(
            "surrogate_kwargs", option("surrogate", self.surrogate, SURROGATES, Surrogate), self.surrogate_kwargs
        )

    def decoder_options(self) -> Statistic:
        """Return the decoder's statistic with its constants."""
        return _chosen("decoder", self.decoder, DECODERS, Statistic, self.decoder_kwargs)

    def constants(self) -> dict[str, Any]:
        """Return the constants that define the network beside its weights, by the names of the arguments."""
        neuron, decoder = self.neuron_options(), asdict(self.decoder_options())
        return {
            **{name: getattr(self, name) for name in ("time_steps", "encoder", "neuron", "decoder")},
            **{f"neuron_kwargs.{name}": value for name, value in asdict(neuron).items() if name not in neuron.starts},
            **{f"decoder_kwargs.{name}": value for name, value in decoder.items()},
        }


def _chosen(
    name: str, value: str, table: Mapping[str, type[Option]], base: type[Any], kwargs: Mapping[str, Any] | None
) -> Option:
    return from_kwargs(f"{name}_kwargs", option(name, value, table, base), kwargs)
