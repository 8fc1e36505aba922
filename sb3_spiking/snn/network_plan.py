"""
Plans of the kernels for whole networks: arrays that share the memory of the parameters, and what invalidates them.

The kernels cover networks of fully connected layers on the CPU. The modules run themselves where a plan has no arrays:
other devices and types, intra-layer connections; modules and parameters of other types
(subclasses, parametrizations, pruned weights, ``functional_call``).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch as th
from spikingjelly.activation_based.base import MemoryModule
from torch import nn

from sb3_spiking.snn.current_norm import CurrentNorm
from sb3_spiking.snn.decoders import Decoder
from sb3_spiking.snn.encoders import (
    FIRING_THRESHOLD,
    MIN_STD,
    AnalogEncoder,
    DeterministicEncoder,
    DirectEncoder,
    RoundedEncoder,
)
from sb3_spiking.snn.execution.backends import PLAIN_TENSORS
from sb3_spiking.snn.execution.dynamics import firing_of
from sb3_spiking.snn.layers import SpikingLayer
from sb3_spiking.snn.neurons.equations import Equations
from sb3_spiking.snn.observers import operations_are_watched
from sb3_spiking.snn.options import SpikingOptions
from sb3_spiking.snn.snapshot import Setting, Snapshot

MAX_ROWS = 512
"""Largest number of observations times time steps where torch has several threads, which share the products of more."""

_NONE = np.empty((0, 0), np.float32)


class Network(Protocol):
    """Parts of a spiking network."""

    options: SpikingOptions
    size: int
    encoder: Any
    layers: Any
    decoder: Decoder
    output: nn.Module

    _modules: dict[str, Any]
    _parameters: dict[str, Any]


class Normalization(NamedTuple):
    """
    Normalisation of observations: ``(x - mean) / sqrt(variance + epsilon + resolution mean^2)``, clipped.

    :ivar mean: means, ``[size]``; empty where observations are features
    :ivar variance: variances, ``[size]``
    :ivar epsilon: number that is added, ``[1]``
    :ivar resolution: share of a squared mean that is added
    :ivar clip: limit of the features
    """

    mean: np.ndarray
    variance: np.ndarray
    epsilon: np.ndarray
    resolution: float
    clip: float


_EMPTY = _NONE.reshape(0)
UNCHANGED = Normalization(_EMPTY, _EMPTY, _EMPTY, 0.0, 0.0)


class Encoding(NamedTuple):
    """
    Arguments of the kernel for an input stage.

    :ivar for_each_step: whether its output is given, for each step
    :ivar centres: means of the receptive fields, ``[D, P]``; empty without
    :ivar widths: widths of the receptive fields, ``[D, P]``
    :ivar narrowest: smallest width in use
    :ivar threshold: firing threshold of regular spikes; 0 where the activity is a constant current
    :ivar initial: membrane before the first step, of regular spikes
    """

    for_each_step: bool
    centres: np.ndarray = _NONE
    widths: np.ndarray = _NONE
    narrowest: float = MIN_STD
    threshold: float = 0.0
    initial: float = 0.0


CURRENTS, GIVEN = Encoding(False), Encoding(True)


class Readout(NamedTuple):
    """
    Arguments of the kernel for a decoder.

    :ivar step_weights: weights of the steps, ``[T]``
    :ivar weight: weights, ``[out_dim, P]``; empty for a decoder that is not linear
    :ivar bias: biases, ``[out_dim]``
    :ivar populations: whether each output has its own population
    :ivar squashed: whether a tanh follows
    """

    step_weights: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    populations: bool
    squashed: bool


@dataclass(frozen=True)
class Arrays:
    """
    Arrays that share the memory of a network's parameters.

    :param encoding: input stage; None where its module runs itself
    :param layers: addresses of each layer's weight (or its rounded copy) and bias, sizes, addresses of the
        normalisation's gain and bias, ``[L, 6]``
    :param readout: decoder
    :param only_spikes: arguments without a decoder
    :param rounded: weights of layers in bfloat16, and the memory of their rounded copies, all flat
    """

    encoding: Encoding | None
    layers: np.ndarray
    readout: Readout
    only_spikes: Readout
    rounded: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class Plan:
    """
    Plan of the kernels for a network.

    :param snapshot: everything that invalidates the plan when it changes
    :param nodes: neurons of each layer
    :param arrays: arrays of the parameters; None where the modules must run themselves
    :param output: output activation; None where the kernels compute it
    """

    snapshot: Snapshot
    nodes: tuple[MemoryModule, ...]
    arrays: Arrays | None
    output: nn.Module | None


_PLANS: WeakKeyDictionary[Any, Plan] = WeakKeyDictionary()


class Segment(NamedTuple):
    """
    Consecutive layers whose neurons have the same equations.

    :ivar run: kernel
    :ivar layers: indices of the layers
    :ivar numbers: threshold and constants of each layer, ``[1 + C, L]``
    """

    run: Any
    layers: slice
    numbers: np.ndarray


def planned(network: Network, features: th.Tensor) -> tuple[Plan, Arrays, tuple[Segment, ...]] | str:
    """
    Return what the kernels need for a batch.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: plan, arrays and segments; the reason why the modules must run themselves, in words
    """
    if operations_are_watched():  # first, since a tracer would record the checks below
        return "torch's operations are watched"
    size, time_steps = len(features), network.options.time_steps
    if size == 0:
        return "there are no observations"
    if not pays(size * time_steps):
        return f"torch has several threads, which share more than {MAX_ROWS} observations times time steps"
    if features.dtype is not th.float32 or features.device.type != "cpu" or type(features) not in PLAIN_TENSORS:
        return "the features are not float32 on the CPU"
    # The kernels check no bounds: shapes that do not fit are left to the modules, which raise.
    if features.shape != (size, network.size):
        return "the features have another shape"
    plan = plan_of(network)
    if plan.arrays is None:
        return "a layer, the encoder or the decoder is not fully connected, plain and float32"
    if plan.snapshot.is_hooked():
        return "hooks observe its modules"
    segments = segments_of(plan.nodes)
    return segments if isinstance(segments, str) else (plan, plan.arrays, segments)


def pays(rows: int) -> bool:
    """
    Tell whether one kernel in one thread takes less time than the modules.

    :param rows: number of observations times time steps
    """
    return rows > 0 and (rows <= MAX_ROWS or th.get_num_threads() == 1)


def plan_of(network: Network) -> Plan:
    """
    Return the plan of a network as it is at this moment.

    :param network: spiking network
    """
    plan = _PLANS.get(network)
    if plan is None or not plan.snapshot.holds():
        plan = _PLANS[network] = _plan(network)
    return plan


def segments_of(nodes: tuple[MemoryModule, ...]) -> tuple[Segment, ...] | str:
    """
    Read the current constants of all the layers' neurons.

    :param nodes: neurons of each layer
    :return: consecutive layers with the same equations; the reason why no kernel runs them, in words
    """
    rows = []
    for node in nodes:
        firing = firing_of(node)
        if isinstance(firing, str):
            return firing
        constants = firing.constants if firing.learnt is None else (*firing.constants, firing.learnt.item())
        rows.append((firing.equations, float(firing.threshold), constants))
    return _float32(tuple(rows))


@lru_cache(maxsize=256)
def _float32(rows: tuple[tuple[Equations, float, tuple[float, ...]], ...]) -> tuple[Segment, ...]:
    """Group the layers, with arrays of their numbers; cached, because it takes longer than reading the nodes."""
    from sb3_spiking.snn.execution.acting_kernels import network

    segments, start = [], 0
    for equations, group in itertools.groupby(rows, key=lambda row: row[0]):
        layers = [(threshold, *(constants or (0.0,))) for _, threshold, constants in group]
        numbers = np.array(layers, np.float32).T.copy()
        segments.append(
            Segment(network(equations, len(numbers) - 1), slice(start, start := start + len(layers)), numbers)
        )
    return tuple(segments)


def _plan(network: Network) -> Plan:
    layers = [(layer, layer.synapses, layer.current_norm, layer.neuron) for layer in network.layers]
    modules: list[nn.Module] = [network.encoder, network.decoder, network.output, *itertools.chain(*layers)]
    modules += [part for layer in network.layers for part in layer.neuron._modules.values()]
    settings: list[Setting] = [(network.decoder.__dict__, "statistic"), (network.decoder.__dict__, "population")]
    settings += [(network.encoder.__dict__, "time_steps"), (network.__dict__, "options")]
    settings += [(layer.__dict__, "product_dtype") for layer in network.layers]
    settings += [(module.__dict__, "forward") for module in modules]
    owners: list[Any] = [network, network.layers, *modules]
    snapshot = Snapshot(owners, settings)
    replaced = any("forward" in module.__dict__ for module in modules)
    parameters = [p for module in owners for p in module._parameters.values() if p is not None]
    return Plan(
        snapshot=snapshot,
        nodes=tuple(layer.neuron for layer in network.layers),
        arrays=_arrays(network) if not replaced and _is_covered(network, parameters) else None,
        output=None if type(network.output) in (nn.Identity, nn.Tanh) else network.output,
    )


def _is_covered(network: Network, parameters: Sequence[th.Tensor]) -> bool:
    """Tell whether the kernels cover the modules and parameters."""
    known = all(
        type(p) is nn.Parameter and p.device.type == "cpu" and p.dtype is th.float32 and p.is_contiguous()
        for p in parameters
    )
    known = known and all(
        type(layer) is SpikingLayer
        and layer.product_dtype in (None, th.bfloat16)
        and type(layer.synapses) is nn.Linear
        and _owns(layer.synapses, "weight", "bias")
        and (type(layer.current_norm) is nn.Identity or _is_norm(layer.current_norm, len(layer.synapses.weight)))
        for layer in network.layers
    )
    decoder = network.decoder
    known = known and type(decoder) is Decoder and _owns(decoder, "weight", "bias")
    return known and _fits(network)


def _owns(module: nn.Module, *names: str) -> bool:
    """Tell whether a module computes with parameters of its own, not with reparametrized tensors."""
    return all(module._parameters.get(name) is not None for name in names)


def _is_norm(norm: nn.Module, neurons: int) -> bool:
    """Tell whether a normalisation of currents fits a layer."""
    plain = type(norm) is CurrentNorm and _owns(norm, "weight", "bias")
    return plain and len(norm.get_parameter("weight")) == len(norm.get_parameter("bias")) == neurons


def _fits(network: Network) -> bool:
    """Tell whether the sizes of consecutive modules agree, since modules may have been replaced."""
    encoder, decoder = network.encoder, network.decoder
    weights = [layer.synapses.get_parameter("weight") for layer in network.layers]
    biases = [layer.synapses.get_parameter("bias") for layer in network.layers]
    populations = 1 if decoder.population is None else len(decoder.weight)
    sent = [encoder.features, *(len(weight) for weight in weights)]
    taken = [*(weight.shape[1] for weight in weights), populations * decoder.weight.shape[1]]
    fits = sent == taken and all(len(w) == len(b) for w, b in zip(weights, biases, strict=True))
    encoding = _encoding(network)
    if encoding is not None:
        centres, widths = encoding.centres, encoding.widths
        fits = fits and encoder.features == (centres.size or network.size) and centres.shape == widths.shape
        fits = fits and len(centres) in (0, network.size)
    return fits and len(decoder.weight) == len(decoder.bias)


def _arrays(network: Network) -> Arrays:
    time_steps, layers, rounded = network.options.time_steps, [], []
    for layer in network.layers:
        weight, bias = _view(layer.synapses.get_parameter("weight")), _view(layer.synapses.get_parameter("bias"))
        if layer.product_dtype is not None:
            own, weight = weight, np.empty_like(weight)
            rounded.append((own.reshape(-1), weight.reshape(-1)))
        norm = [_view(parameter).ctypes.data for parameter in layer.current_norm.parameters()] or [0, 0]
        layers.append((weight.ctypes.data, bias.ctypes.data, *weight.shape, *norm))
    statistic = network.decoder.statistic.step_weights(time_steps)
    only_spikes = Readout(np.zeros(time_steps, np.float32), _NONE, _EMPTY, False, False)
    readout = only_spikes if statistic is None else _readout(network, *statistic)
    return Arrays(_encoding(network), np.array(layers, np.int64), readout, only_spikes, tuple(rounded))


def _encoding(network: Network) -> Encoding | None:
    encoder, kind = network.encoder, type(network.encoder)
    if getattr(encoder, "time_steps", None) != network.options.time_steps:
        return None
    if kind is DirectEncoder:
        return CURRENTS
    if kind not in (DeterministicEncoder, RoundedEncoder, AnalogEncoder) or not _owns(encoder, "mean", "std"):
        return None
    fields = (False, _view(encoder.mean), _view(encoder.std), MIN_STD)
    return Encoding(*fields) if kind is AnalogEncoder else Encoding(*fields, FIRING_THRESHOLD, kind.initial)


def _readout(network: Network, weights: list[float], divisor: float) -> Readout:
    decoder = network.decoder
    step_weights = np.array(weights, np.float32) / np.float32(divisor)
    populations, squashed = decoder.population is not None, type(network.output) is nn.Tanh
    return Readout(step_weights, _view(decoder.weight), _view(decoder.bias), populations, squashed)


def _view(parameter: th.Tensor) -> np.ndarray:
    return parameter.detach().numpy()
