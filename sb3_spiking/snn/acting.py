"""
Acting: a decision for a few observations in three kernel calls, for any number of layers.

The kernels compute the equations of the modules, from the memory of their parameters. The modules run themselves where
the kernels do not apply: other devices and types, large batches, gradients, convolutions, normalised currents,
intra-layer connections; modules and parameters of other types (subclasses, parametrizations, pruned weights,
``functional_call``); and under hooks, counters and tracers of torch's operations.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple, Protocol, TypeGuard
from weakref import WeakKeyDictionary

import numpy as np
import torch as th
from spikingjelly.activation_based.base import MemoryModule
from torch import nn

from sb3_spiking.snn.decoders import Decoder
from sb3_spiking.snn.encoders import FIRING_THRESHOLD, MIN_STD, DeterministicEncoder
from sb3_spiking.snn.execution.backends import PLAIN_TENSORS
from sb3_spiking.snn.execution.dynamics import dynamics_of, firing_of
from sb3_spiking.snn.layers import SpikingLayer
from sb3_spiking.snn.neurons.equations import Equations
from sb3_spiking.snn.observers import operations_are_watched
from sb3_spiking.snn.options import SpikingOptions
from sb3_spiking.snn.signal import Signal

MAX_ROWS = 64
"""Largest number of observations times time steps; with more rows torch's matrix products are faster."""


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


class _Readout(NamedTuple):
    """
    Arguments of the kernel for a linear decoder.

    :ivar step_weights: weights of the steps, ``[T]``
    :ivar weight: weights, ``[out_dim, P]``
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

    :param receptive_fields: means and widths of a deterministic encoder; None for other input stages
    :param weights: weights of each layer, ``[J, K]``, or their rounded copies
    :param biases: biases of each layer, ``[J]``
    :param readout: decoder; None if it is not linear
    :param rounded: flat weights of layers in bfloat16, and the flat memory of their rounded copies
    """

    receptive_fields: tuple[np.ndarray, np.ndarray] | None
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    readout: _Readout | None
    rounded: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class _Plan:
    """
    Plan of the kernels for a network, and everything that invalidates it when it changes.

    :param slots: owner, name and content of each submodule, parameter and setting behind the arrays
    :param hooks: dicts of hooks
    :param parameters: parameters
    :param pointers: addresses of the parameters; the arrays keep their memory alive, so it cannot be reused
    :param nodes: neurons of each layer
    :param kernels: module of the kernels
    :param arrays: arrays of the parameters; None where the modules must run themselves
    :param output: output activation; None where the kernels compute it
    """

    slots: tuple[tuple[dict[str, Any], str, Any], ...]
    hooks: tuple[dict[int, Any], ...]
    parameters: tuple[th.Tensor, ...]
    pointers: list[int]
    nodes: tuple[MemoryModule, ...]
    kernels: ModuleType
    arrays: _Arrays | None
    output: nn.Module | None

    def holds(self) -> bool:
        """Tell whether the network still has the modules, parameters and settings of the plan."""
        for owner, name, content in self.slots:
            if owner.get(name) is not content:
                return False
        return self.pointers == [parameter.data_ptr() for parameter in self.parameters]


_PLANS: WeakKeyDictionary[Any, _Plan] = WeakKeyDictionary()


class _Segment(NamedTuple):
    """
    Consecutive layers whose neurons have the same equations.

    :ivar equations: equations of the neurons
    :ivar layers: indices of the layers
    :ivar thresholds: threshold of each layer
    :ivar constants: constants of each layer
    """

    equations: Equations
    layers: slice
    thresholds: tuple[Any, ...]
    constants: tuple[tuple[Any, ...], ...]


def decide(network: Network, features: th.Tensor) -> th.Tensor | None:
    """
    Decide for a few observations, without gradients.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: output of the network, ``[N, out_dim]``; None where the modules must run themselves
    :raises ValueError: if a feature is NaN or infinite
    """
    planned = _planned(network, features)
    if isinstance(planned, str):
        return None
    plan, arrays, segments = planned
    size, time_steps = len(features), network.options.time_steps
    spikes = _inputs(network, plan, features)
    if len(spikes) not in (size, time_steps * size):  # an encoder of other time steps
        return None
    if arrays.rounded:
        _round_weights(arrays)
    for equations, layers, thresholds, constants in segments:
        run, weights, biases = plan.kernels.layers(equations), arrays.weights[layers], arrays.biases[layers]
        spikes = run(spikes, size, time_steps, weights, biases, thresholds, constants)
    if arrays.readout is None:
        return network.output(network.decoder(th.from_numpy(spikes).unflatten(0, (time_steps, size))))
    decided = th.from_numpy(plan.kernels.decode(spikes, *arrays.readout))
    return decided if plan.output is None else plan.output(decided)


def _round_weights(arrays: _Arrays) -> None:
    """Round the weights anew, since nobody can tell whether they have changed."""
    from sb3_spiking.snn.execution.rounded_products import round_to_bfloat16

    for weight, copy in arrays.rounded:
        round_to_bfloat16(weight, copy)


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
    if not 0 < size * time_steps <= MAX_ROWS:
        return f"there are more than {MAX_ROWS} observations times time steps"
    if features.dtype is not th.float32 or features.device.type != "cpu" or type(features) not in PLAIN_TENSORS:
        return "the features are not float32 on the CPU"
    # The kernels check no bounds: shapes that do not fit are left to the modules, which raise.
    if features.shape != (size, network.size):
        return "the features have another shape"
    plan = _PLANS.get(network)
    if plan is None or not plan.holds():
        plan = _PLANS[network] = _plan(network)
    if plan.arrays is None:
        return "a layer, the encoder or the decoder is not fully connected, plain and float32"
    if any(plan.hooks):
        return "hooks observe its modules"
    segments = _segments(plan.nodes)
    return segments if isinstance(segments, str) else (plan, plan.arrays, segments)


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
    """Group the layers, with numbers of NumPy; cached, because it takes longer than reading the nodes."""
    segments, start = [], 0
    for equations, group in itertools.groupby(rows, key=lambda row: row[0]):
        _, thresholds, constants = zip(*group, strict=True)
        layers = slice(start, start := start + len(thresholds))
        numbers = tuple(tuple(map(np.float32, layer)) for layer in constants)
        segments.append(_Segment(equations, layers, tuple(map(np.float32, thresholds)), numbers))
    return tuple(segments)


def _inputs(network: Network, plan: _Plan, features: th.Tensor) -> np.ndarray:
    """Return the input of the first layer, ``[T * N, K]``, or ``[N, K]`` where it is constant."""
    fields = None if plan.arrays is None else plan.arrays.receptive_fields
    if fields is not None:
        observations = features.detach().contiguous().numpy()
        time_steps = network.options.time_steps
        spikes, finite = plan.kernels.encode(observations, *fields, MIN_STD, FIRING_THRESHOLD, time_steps)
        if finite:
            return spikes
    signal = Signal.of(network.encoder(features))  # raises for observations that are not finite
    return signal.values.detach().flatten(0, 1).contiguous().numpy()


def warm_up(network: Network) -> None:
    """
    Compile the kernels of a network, or load them from numba's cache, so that no decision waits for it.

    :param network: spiking network
    """
    from sb3_spiking.snn.execution import numba_loops
    from sb3_spiking.snn.execution.equation_check import check_equations

    numba_loops.warm_up()
    for layer in network.layers:
        dynamics = dynamics_of(layer.neuron)
        if not isinstance(dynamics, str):
            numba_loops.warm_up_neuron(dynamics)
            check_equations(layer.neuron, dynamics)
    with th.no_grad():
        decide(network, th.zeros(1, network.size))


def _plan(network: Network) -> _Plan:
    from sb3_spiking.snn.execution import acting_kernels

    layers = [(layer, layer.synapses, layer.current_norm, layer.neuron) for layer in network.layers]
    modules: list[nn.Module] = [network.encoder, network.decoder, network.output, *itertools.chain(*layers)]
    modules += [part for layer in network.layers for part in layer.neuron._modules.values()]
    slots = [
        (owner, name, content)
        for module in [network, network.layers, *modules]
        for owner in (module._modules, module._parameters)
        for name, content in owner.items()
    ]
    parameters = tuple(content for _, _, content in slots if isinstance(content, th.Tensor))
    settings: list[tuple[nn.Module, str]] = [(network.decoder, "statistic"), (network.decoder, "population")]
    settings += [(layer, "product_dtype") for layer in network.layers]
    settings += [(module, "forward") for module in modules]
    slots += [(module.__dict__, name, module.__dict__.get(name)) for module, name in settings]
    replaced = any("forward" in module.__dict__ for module in modules)
    return _Plan(
        slots=tuple(slots),
        hooks=tuple(hooks for module in modules for hooks in (module._forward_hooks, module._forward_pre_hooks)),
        parameters=parameters,
        pointers=[parameter.data_ptr() for parameter in parameters],
        nodes=tuple(layer.neuron for layer in network.layers),
        kernels=acting_kernels,
        arrays=_arrays(network) if not replaced and _is_covered(network, parameters) else None,
        output=None if type(network.output) in (nn.Identity, nn.Tanh) else network.output,
    )


def _is_covered(network: Network, parameters: tuple[th.Tensor, ...]) -> bool:
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
    if _is_deterministic(encoder):
        fits = fits and len(encoder.mean) == network.size and encoder.mean.shape == encoder.std.shape
    return fits and len(decoder.weight) == len(decoder.bias)


def _is_deterministic(encoder: nn.Module) -> TypeGuard[DeterministicEncoder]:
    return type(encoder) is DeterministicEncoder and _owns(encoder, "mean", "std")


def _arrays(network: Network) -> _Arrays:
    encoder, decoder = network.encoder, network.decoder
    own = [_view(layer.synapses.get_parameter("weight")) for layer in network.layers]
    weights = [
        weight if layer.product_dtype is None else np.empty_like(weight)
        for layer, weight in zip(network.layers, own, strict=True)
    ]
    return _Arrays(
        (_view(encoder.mean), _view(encoder.std)) if _is_deterministic(encoder) else None,
        tuple(weights),
        tuple(_view(layer.synapses.get_parameter("bias")) for layer in network.layers),
        _readout(decoder, network.options.time_steps, type(network.output) is nn.Tanh),
        tuple((a.reshape(-1), b.reshape(-1)) for a, b in zip(own, weights, strict=True) if a is not b),
    )


def _readout(decoder: Decoder, time_steps: int, squashed: bool) -> _Readout | None:
    linear = decoder.statistic.step_weights(time_steps)
    if linear is None:
        return None
    weights, divisor = linear
    step_weights = np.array(weights, np.float32) / np.float32(divisor)
    return _Readout(step_weights, _view(decoder.weight), _view(decoder.bias), decoder.population is not None, squashed)


def _view(parameter: th.Tensor) -> np.ndarray:
    return parameter.detach().numpy()
