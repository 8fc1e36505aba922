"""
The choice of how a layer runs, with the reason; no other module makes it.

From the fastest to the slowest, a layer runs as one fused kernel, with its neurons alone in a fused kernel, as plain
operations of torch, or as SpikingJelly's node. Before any layer runs, [`acting`][sb3_spiking.snn.acting] takes a whole
network at once for a few observations without gradients.
"""

from enum import Enum
from typing import Any, NamedTuple, Protocol

import torch as th
from spikingjelly.activation_based.neuron import BaseNode
from spikingjelly.activation_based.surrogate import SurrogateFunctionBase
from torch import nn

from sb3_spiking.snn.execution.backends import unsupported
from sb3_spiking.snn.execution.dynamics import Dynamics, dynamics_of, surrogate_of
from sb3_spiking.snn.observers import is_watched, operations_are_traced, operations_are_watched
from sb3_spiking.snn.signal import Signal


class Layer(Protocol):
    """Parts of a spiking layer."""

    synapses: nn.Module
    current_norm: nn.Module
    neuron: BaseNode

    @property
    def feedback(self) -> Any:
        """Lateral current of the last spikes, a function; None without lateral connections."""


class Way(Enum):
    """A way to run a layer."""

    LAYER = "synapses and neurons in one fused kernel"
    NEURONS = "neurons in a fused kernel"
    OPERATIONS = "plain operations of torch"
    NODE = "SpikingJelly's node"


class Execution(NamedTuple):
    """
    How a layer runs.

    :ivar way: way to run it
    :ivar reason: reason why it is not a faster way; empty for the fastest
    :ivar dynamics: neurons as kernels run them; None where they are not needed
    """

    way: Way
    reason: str
    dynamics: Any = None


def choose_neurons(node: BaseNode, inputs: th.Tensor, feedback: object = None) -> Execution:
    """
    Choose how a population of neurons runs.

    :param node: multi-step SpikingJelly node; its attributes are read at each call
    :param inputs: input current, or the tensor that it is computed from
    :param feedback: lateral current of the last spikes, a function; None without lateral connections
    :return: choice, ``Way.LAYER`` excepted
    """
    observed = is_watched(node) or any(map(is_watched, node._modules.values()))
    if operations_are_traced():
        return _choose_traced(node, observed)
    if observed:
        return Execution(Way.NODE, "hooks observe its neurons, or replace them")
    problem = unsupported(inputs)
    if problem is not None:
        return Execution(Way.NODE, problem)
    dynamics = dynamics_of(node)
    if isinstance(dynamics, str):
        return Execution(Way.NODE, dynamics)
    if feedback is not None:
        return Execution(Way.NODE, "its neurons hear each other's last spikes")
    return Execution(Way.NEURONS, "", dynamics)


def _choose_traced(node: BaseNode, observed: bool) -> Execution:
    reason = "torch's operations are traced, compiled or transformed"
    surrogate = surrogate_of(node)
    if not isinstance(surrogate, SurrogateFunctionBase) or not surrogate.spiking:
        return Execution(Way.NODE, reason)
    dynamics = None if observed else dynamics_of(node)
    return Execution(Way.OPERATIONS, reason, dynamics if isinstance(dynamics, Dynamics) else None)


def choose_layer(layer: Layer, signal: Signal) -> Execution:
    """
    Choose how a layer runs.

    :param layer: spiking layer
    :param signal: input of the layer
    :return: choice
    """
    neurons = choose_neurons(layer.neuron, signal.values, layer.feedback)
    if neurons.way is not Way.NEURONS:
        return neurons
    reason = _separate(layer, signal)
    return neurons._replace(reason=reason) if reason else neurons._replace(way=Way.LAYER)


def _separate(layer: Layer, signal: Signal) -> str:
    """Return the reason why synapses and neurons run one after the other; empty where they run together."""
    if signal.is_constant:
        return "its input is the same at each step, so its synapses multiply once"
    if type(layer.current_norm) is not nn.Identity or is_watched(layer.current_norm):
        return "its currents are normalised, or observed"
    return "" if adds_plainly(layer.synapses) else "its synapses are not fully connected with a bias, or observed"


def adds_plainly(synapses: nn.Module) -> bool:
    """
    Tell whether synapses are one product and a bias, unobserved.

    :param synapses: linear map
    :return: True for ``nn.Linear`` with a bias; False for subclasses and parametrizations, which may differ
    """
    plain = type(synapses) is nn.Linear and synapses.bias is not None
    return plain and not is_watched(synapses) and not operations_are_watched()


def convolves_plainly(synapses: nn.Module) -> bool:
    """
    Tell whether synapses are one convolution and a bias, without padding, unobserved.

    :param synapses: linear map
    :return: True for such ``nn.Conv2d``; False for subclasses and parametrizations, which may differ
    """
    plain = type(synapses) is nn.Conv2d and synapses.bias is not None and synapses.groups == 1
    plain = plain and synapses.padding == (0, 0) and synapses.dilation == (1, 1)
    return plain and not is_watched(synapses) and not operations_are_watched()
