"""
Acting: a decision for a few observations in three calls, whatever the number of layers.

The equations are those of the modules, whose parameters are read where they lie. What the kernels do not cover is left
to the modules: other devices and precisions, large batches, gradients, convolutions, normalised currents, intra-layer
connections; modules and parameters of any other type (subclasses, parametrizations, pruned weights,
``functional_call``); and everything that is watched, by hooks, counters or tracers of torch's operations.
"""

import itertools
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard
from weakref import WeakKeyDictionary

import numpy as np
import torch as th
from spikingjelly.activation_based.base import MemoryModule
from torch import nn

from sb3_spiking.snn import kernels
from sb3_spiking.snn.decoders import DECODERS, Decoder, Max
from sb3_spiking.snn.encoders import FIRING_THRESHOLD, MIN_STD, DeterministicEncoder
from sb3_spiking.snn.layers import SpikingLayer
from sb3_spiking.snn.recording import is_constant
from sb3_spiking.snn.watching import operations_are_watched

if TYPE_CHECKING:
    from sb3_spiking.snn.networks import SpikingNetwork

MAX_ROWS = 64
"""Observations times time steps up to which this is faster than the modules; more rows make better matrix products."""


class _Readout(NamedTuple):
    """
    A linear decoder, as the kernel takes it.

    :ivar step_weights: ``[T]``
    :ivar weight: ``[out_dim, P]``
    :ivar bias: ``[out_dim]``
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
    The parameters of a network, sharing their memory.

    :param receptive_fields: means and widths of a deterministic encoder; None for other input stages
    :param weights: of each layer, ``[J, K]``
    :param biases: of each layer, ``[J]``
    :param readout: the decoder; None if it is not linear
    """

    receptive_fields: tuple[np.ndarray, np.ndarray] | None
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    readout: _Readout | None


@dataclass(frozen=True)
class _Plan:
    """
    How the kernels run a network, and what must not have changed since.

    :param slots: owner, name and content of each submodule, parameter and setting that the arrays come from
    :param hooks: where hooks would be
    :param parameters: the parameters
    :param pointers: where they lie; the arrays keep that memory alive, so nothing else can come to lie there
    :param nodes: the neurons of each layer
    :param kernels: what runs it
    :param arrays: the parameters; None where the modules must run themselves
    :param output: what becomes of the decoded values; None where the kernels see to it
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
        """Return whether the network still has the modules, parameters and settings that it had."""
        for owner, name, content in self.slots:
            if owner.get(name) is not content:
                return False
        return self.pointers == [parameter.data_ptr() for parameter in self.parameters]


_PLANS: "WeakKeyDictionary[SpikingNetwork, _Plan]" = WeakKeyDictionary()


def decide(network: "SpikingNetwork", features: th.Tensor) -> th.Tensor | None:
    """
    Decide for a few observations, without gradients.

    :param network: who decides
    :param features: ``[N, size]``
    :return: what the network returns, ``[N, out_dim]``; None where the modules must run themselves
    :raises ValueError: if a feature is NaN or infinite
    """
    if th.is_grad_enabled() or operations_are_watched():  # at first: a tracer would record the questions below
        return None
    size, time_steps = len(features), network.options.time_steps
    few = 0 < size * time_steps <= MAX_ROWS
    if not few or features.dtype is not th.float32 or features.device.type != "cpu":
        return None
    if type(features) not in kernels.PLAIN_TENSORS:
        return None
    # The kernels check no bounds: what does not fit is the modules' to complain about.
    if features.shape != (size, network.size):
        return None
    plan = _PLANS.get(network)
    if plan is None or not plan.holds():
        plan = _PLANS[network] = _plan(network)
    arrays = plan.arrays
    dynamics = None if arrays is None or any(plan.hooks) else kernels.dynamics_of(plan.nodes)
    if arrays is None or dynamics is None:
        return None
    inputs = _inputs(network, plan, features)
    if len(inputs) not in (size, time_steps * size):  # an encoder of other time steps
        return None
    spikes = plan.kernels.layers(inputs, size, time_steps, arrays.weights, arrays.biases, dynamics)
    if arrays.readout is None:
        return network.output(network.decoder(th.from_numpy(spikes).unflatten(0, (time_steps, size))))
    decided = th.from_numpy(plan.kernels.decode(spikes, *arrays.readout))
    return decided if plan.output is None else plan.output(decided)


def _inputs(network: "SpikingNetwork", plan: _Plan, features: th.Tensor) -> np.ndarray:
    """Return the input of the first layer, ``[T * N, K]``, or ``[N, K]`` where it is constant."""
    fields = None if plan.arrays is None else plan.arrays.receptive_fields
    if fields is not None:
        observations = features.detach().contiguous().numpy()
        time_steps = network.options.time_steps
        spikes, finite = plan.kernels.encode(observations, *fields, MIN_STD, FIRING_THRESHOLD, time_steps)
        if finite:
            return spikes
    inputs = network.encoder(features)  # which also says what is wrong with an observation
    return (inputs[0] if is_constant(inputs) else inputs.flatten(0, 1)).contiguous().numpy()


def warm_up(network: "SpikingNetwork") -> None:
    """
    Compile the kernels for networks like this one, or load them from numba's cache, so that no decision waits for it.

    :param network: any network
    """
    with th.no_grad():
        decide(network, th.zeros(1, network.size))


def _plan(network: "SpikingNetwork") -> _Plan:
    from sb3_spiking.snn.kernels import acting

    layers = [(layer, layer.synapses, layer.current_norm, layer.neuron) for layer in network.layers]
    modules: list[nn.Module] = [network.encoder, network.decoder, network.output, *itertools.chain(*layers)]
    modules += [part for layer in network.layers for part in layer.neuron._modules.values()]
    slots = [
        (owner, name, content)
        for module in [network, network.get_submodule("layers"), *modules]
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
        kernels=acting,
        arrays=_arrays(network) if not replaced and _is_covered(network, parameters) else None,
        output=None if type(network.output) in (nn.Identity, nn.Tanh) else network.output,
    )


def _is_covered(network: "SpikingNetwork", parameters: tuple[th.Tensor, ...]) -> bool:
    """Tell whether the modules are what the kernels know."""
    known = all(
        type(p) is nn.Parameter and p.device.type == "cpu" and p.dtype is th.float32 and p.is_contiguous()
        for p in parameters
    )
    known = known and all(
        type(layer) is SpikingLayer
        and layer.product_dtype is None
        and type(layer.current_norm) is nn.Identity
        and type(layer.synapses) is nn.Linear
        and _owns(layer.synapses, "weight", "bias")
        for layer in network.layers
    )
    decoder = network.decoder
    known = known and type(decoder) is Decoder and _owns(decoder, "weight", "bias")
    return known and type(decoder.statistic) in DECODERS.values() and _fits(network)


def _owns(module: nn.Module, *names: str) -> bool:
    """Tell whether a module computes with its own parameters, and not with tensors that are made of others."""
    return all(module._parameters.get(name) is not None for name in names)


def _fits(network: "SpikingNetwork") -> bool:
    """Tell whether everything takes as much as what is before it sends: modules may have been replaced."""
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


def _arrays(network: "SpikingNetwork") -> _Arrays:
    encoder, decoder = network.encoder, network.decoder
    return _Arrays(
        (_view(encoder.mean), _view(encoder.std)) if _is_deterministic(encoder) else None,
        tuple(_view(layer.synapses.get_parameter("weight")) for layer in network.layers),
        tuple(_view(layer.synapses.get_parameter("bias")) for layer in network.layers),
        _readout(decoder, network.options.time_steps, type(network.output) is nn.Tanh),
    )


def _readout(decoder: Decoder, time_steps: int, squashed: bool) -> _Readout | None:
    if isinstance(decoder.statistic, Max):
        return None
    weights, divisor = decoder.statistic.step_weights(time_steps)
    step_weights = np.array(weights, np.float32) / np.float32(divisor)
    return _Readout(step_weights, _view(decoder.weight), _view(decoder.bias), decoder.population is not None, squashed)


def _view(parameter: th.Tensor) -> np.ndarray:
    return parameter.detach().numpy()
