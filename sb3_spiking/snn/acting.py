"""
Acting: decisions without gradients in one kernel call, for any number of layers.

The kernel computes the equations of the modules, from the memory of their parameters. The modules run themselves where
it does not apply: other devices and types, large batches in several threads, gradients, intra-layer connections;
modules and parameters of other types (subclasses, parametrizations, pruned weights, ``functional_call``); and under
hooks, counters and tracers of torch's operations. Images and normalised currents are decided layer by layer
(``acting_layers``).
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

from sb3_spiking.snn.decoders import Decoder
from sb3_spiking.snn.encoders import (
    FIRING_THRESHOLD,
    MIN_STD,
    AnalogEncoder,
    DeterministicEncoder,
    DirectEncoder,
)
from sb3_spiking.snn.execution.backends import PLAIN_TENSORS
from sb3_spiking.snn.execution.dynamics import dynamics_of, firing_of
from sb3_spiking.snn.layers import SpikingLayer
from sb3_spiking.snn.neurons.equations import Equations
from sb3_spiking.snn.observers import operations_are_watched
from sb3_spiking.snn.options import SpikingOptions
from sb3_spiking.snn.signal import Signal
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


class _Encoding(NamedTuple):
    """
    Arguments of the kernel for an input stage.

    :ivar for_each_step: whether its output is given, for each step
    :ivar centres: means of the receptive fields, ``[D, P]``; empty without
    :ivar widths: widths of the receptive fields, ``[D, P]``
    :ivar narrowest: smallest width in use
    :ivar threshold: firing threshold of regular spikes; 0 where the activity is a constant current
    """

    for_each_step: bool
    centres: np.ndarray = _NONE
    widths: np.ndarray = _NONE
    narrowest: float = MIN_STD
    threshold: float = 0.0


_CURRENTS, _GIVEN = _Encoding(False), _Encoding(True)


class _Readout(NamedTuple):
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
class _Arrays:
    """
    Arrays that share the memory of a network's parameters.

    :param encoding: input stage; None where its module runs itself
    :param layers: addresses and sizes of each layer's parameters, or of rounded copies, ``[L, 4]``
    :param readout: decoder
    :param only_spikes: arguments without a decoder
    :param rounded: weights of layers in bfloat16, and the memory of their rounded copies, all flat
    """

    encoding: _Encoding | None
    layers: np.ndarray
    readout: _Readout
    only_spikes: _Readout
    rounded: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class _Plan:
    """
    Plan of the kernels for a network.

    :param snapshot: everything that invalidates the plan when it changes
    :param nodes: neurons of each layer
    :param arrays: arrays of the parameters; None where the modules must run themselves
    :param output: output activation; None where the kernels compute it
    """

    snapshot: Snapshot
    nodes: tuple[MemoryModule, ...]
    arrays: _Arrays | None
    output: nn.Module | None


_PLANS: WeakKeyDictionary[Any, _Plan] = WeakKeyDictionary()


class _Segment(NamedTuple):
    """
    Consecutive layers whose neurons have the same equations.

    :ivar run: kernel
    :ivar layers: indices of the layers
    :ivar numbers: threshold and constants of each layer, ``[1 + C, L]``
    """

    run: Any
    layers: slice
    numbers: np.ndarray


def decide(network: Network, features: th.Tensor) -> th.Tensor | None:
    """
    Decide for some observations, without gradients.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: output of the network, ``[N, out_dim]``; None where the modules must run themselves, or raise
    """
    planned = _planned(network, features)
    if isinstance(planned, str):
        return None
    plan, arrays, segments = planned
    observations, encoding = features.detach().contiguous().numpy(), arrays.encoding
    if encoding is None:
        signal = Signal.of(network.encoder(features))
        steps = len(signal.values)
        if steps not in (1, network.options.time_steps):
            return None
        encoding = _GIVEN if steps == network.options.time_steps else _CURRENTS
        observations = signal.values.detach().flatten(0, 1).contiguous().numpy()
    outputs = _run(arrays, segments, observations, UNCHANGED, encoding)
    return None if outputs is None else _finished(network, plan, arrays, outputs)


def decide_at_once(network: Network, observations: np.ndarray, normalization: Normalization) -> np.ndarray | None:
    """
    Normalise observations and decide, without a tensor.

    :param network: spiking network
    :param observations: observations, ``[N, size]``, contiguous, float32
    :param normalization: normalisation of the observations, with ``size`` means if any
    :return: output of the network, ``[N, out_dim]``; None where the modules must run themselves, or raise
    """
    plan = _current_plan(network)
    arrays = plan.arrays
    rows = len(observations) * network.options.time_steps
    if arrays is None or arrays.encoding is None or not _pays(rows) or plan.snapshot.is_hooked():
        return None
    if observations.shape[1] != network.size or arrays.readout is arrays.only_spikes or plan.output is not None:
        return None
    segments = _segments(plan.nodes)
    return None if isinstance(segments, str) else _run(arrays, segments, observations, normalization, arrays.encoding)


def _run(
    arrays: _Arrays,
    segments: tuple[_Segment, ...],
    inputs: np.ndarray,
    normalization: Normalization,
    encoding: _Encoding,
) -> np.ndarray | None:
    """Run all the layers; return what is decoded, ``[N, out_dim]``, or spikes; None if a feature is not finite."""
    if arrays.rounded:
        _round_weights(arrays)
    last = len(segments) - 1
    for index, (run, layers, numbers) in enumerate(segments):
        readout = arrays.readout if index == last else arrays.only_spikes
        inputs, finite = run(inputs, *normalization, *encoding, arrays.layers[layers], numbers, *readout)
        if not finite:
            return None
        normalization, encoding = UNCHANGED, _GIVEN
    return inputs


def _round_weights(arrays: _Arrays) -> None:
    """Round the weights anew, since nobody can tell whether they have changed."""
    from sb3_spiking.snn.execution.rounded_products import round_to_bfloat16

    for weight, copy in arrays.rounded:
        round_to_bfloat16(weight, copy)


def _finished(network: Network, plan: _Plan, arrays: _Arrays, outputs: np.ndarray) -> th.Tensor:
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
    planned = _planned(network, features)
    return planned if isinstance(planned, str) else ""


def _planned(network: Network, features: th.Tensor) -> tuple[_Plan, _Arrays, tuple[_Segment, ...]] | str:
    """Return plan, arrays and segments for the kernels, or the reason why they do not run."""
    if th.is_grad_enabled() or operations_are_watched():  # first, since a tracer would record the checks below
        return "gradients are wanted, or torch's operations are watched"
    size, time_steps = len(features), network.options.time_steps
    if not _pays(size * time_steps):
        return f"there are no observations, or more than {MAX_ROWS} times time steps for several threads"
    if features.dtype is not th.float32 or features.device.type != "cpu" or type(features) not in PLAIN_TENSORS:
        return "the features are not float32 on the CPU"
    # The kernels check no bounds: shapes that do not fit are left to the modules, which raise.
    if features.shape != (size, network.size):
        return "the features have another shape"
    plan = _current_plan(network)
    if plan.arrays is None:
        return "a layer, the encoder or the decoder is not fully connected, plain and float32"
    if plan.snapshot.is_hooked():
        return "hooks observe its modules"
    segments = _segments(plan.nodes)
    return segments if isinstance(segments, str) else (plan, plan.arrays, segments)


def _pays(rows: int) -> bool:
    """Tell whether one kernel in one thread takes less time for these rows than the modules."""
    return rows > 0 and (rows <= MAX_ROWS or th.get_num_threads() == 1)


def _current_plan(network: Network) -> _Plan:
    plan = _PLANS.get(network)
    if plan is None or not plan.snapshot.holds():
        plan = _PLANS[network] = _plan(network)
    return plan


def _segments(nodes: tuple[MemoryModule, ...]) -> tuple[_Segment, ...] | str:
    """Read the current constants of all the layers' neurons."""
    rows = []
    for node in nodes:
        firing = firing_of(node)
        if isinstance(firing, str):
            return firing
        constants = firing.constants if firing.learnt is None else (*firing.constants, firing.learnt.item())
        rows.append((firing.equations, float(firing.threshold), constants))
    return _float32(tuple(rows))


@lru_cache(maxsize=256)
def _float32(rows: tuple[tuple[Equations, float, tuple[float, ...]], ...]) -> tuple[_Segment, ...]:
    """Group the layers, with arrays of their numbers; cached, because it takes longer than reading the nodes."""
    from sb3_spiking.snn.execution.acting_kernels import network

    segments, start = [], 0
    for equations, group in itertools.groupby(rows, key=lambda row: row[0]):
        layers = [(threshold, *(constants or (0.0,))) for _, threshold, constants in group]
        numbers = np.array(layers, np.float32).T.copy()
        segments.append(
            _Segment(network(equations, len(numbers) - 1), slice(start, start := start + len(layers)), numbers)
        )
    return tuple(segments)


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


def _plan(network: Network) -> _Plan:
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
    return _Plan(
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
        and type(layer.current_norm) is nn.Identity
        and type(layer.synapses) is nn.Linear
        and _owns(layer.synapses, "weight", "bias")
        for layer in network.layers
    )
    decoder = network.decoder
    known = known and type(decoder) is Decoder and _owns(decoder, "weight", "bias")
    return known and _fits(network)


def _owns(module: nn.Module, *names: str) -> bool:
    """Tell whether a module computes with parameters of its own, not with reparametrized tensors."""
    return all(module._parameters.get(name) is not None for name in names)


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


def _arrays(network: Network) -> _Arrays:
    time_steps, layers, rounded = network.options.time_steps, [], []
    for layer in network.layers:
        weight, bias = _view(layer.synapses.get_parameter("weight")), _view(layer.synapses.get_parameter("bias"))
        if layer.product_dtype is not None:
            own, weight = weight, np.empty_like(weight)
            rounded.append((own.reshape(-1), weight.reshape(-1)))
        layers.append((weight.ctypes.data, bias.ctypes.data, *weight.shape))
    statistic = network.decoder.statistic.step_weights(time_steps)
    only_spikes = _Readout(np.zeros(time_steps, np.float32), _NONE, _EMPTY, False, False)
    readout = only_spikes if statistic is None else _readout(network, *statistic)
    return _Arrays(_encoding(network), np.array(layers, np.int64), readout, only_spikes, tuple(rounded))


def _encoding(network: Network) -> _Encoding | None:
    encoder, kind = network.encoder, type(network.encoder)
    if getattr(encoder, "time_steps", None) != network.options.time_steps:
        return None
    if kind is DirectEncoder:
        return _CURRENTS
    if kind not in (DeterministicEncoder, AnalogEncoder) or not _owns(encoder, "mean", "std"):
        return None
    threshold = FIRING_THRESHOLD if kind is DeterministicEncoder else 0.0
    return _Encoding(False, _view(encoder.mean), _view(encoder.std), MIN_STD, threshold)


def _readout(network: Network, weights: list[float], divisor: float) -> _Readout:
    decoder = network.decoder
    step_weights = np.array(weights, np.float32) / np.float32(divisor)
    populations, squashed = decoder.population is not None, type(network.output) is nn.Tanh
    return _Readout(step_weights, _view(decoder.weight), _view(decoder.bias), populations, squashed)


def _view(parameter: th.Tensor) -> np.ndarray:
    return parameter.detach().numpy()
