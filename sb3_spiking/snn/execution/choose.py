"""
The choice of how a layer runs: the only place that makes it, and says why.

From the fastest to the slowest: a whole network in one go (``acting``, a few observations without gradients), synapses
and neurons of a layer together, neurons alone, plain operations of torch, SpikingJelly's node.
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
        """Function by which neurons hear each other's last spikes; None where they do not."""


class Way(Enum):
    """A way to run a layer."""

    LAYER = "synapses and neurons in one fused kernel"
    NEURONS = "neurons in a fused kernel"
    OPERATIONS = "plain operations of torch"
    NODE = "SpikingJelly's node"


class Execution(NamedTuple):
    """
    How a layer runs.

    :ivar way: the way
    :ivar reason: the reason why it is no faster one; empty for the fastest
    :ivar dynamics: the neurons as kernels run them; None where nothing reads them
    """

    way: Way
    reason: str
    dynamics: Any = None


def choose_neurons(node: BaseNode, inputs: th.Tensor, feedback: object = None) -> Execution:
    """
    Choose how a population of neurons runs.

    :param node: a multi-step SpikingJelly node; its attributes are read anew at each call
    :param inputs: input current, or the tensor that it is computed from
    :param feedback: function by which its neurons hear each other's last spikes; None where they do not
    :return: the choice
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

    :param layer: a spiking layer
    :param signal: its input
    :return: the choice
    """
    neurons = choose_neurons(layer.neuron, signal.values, layer.feedback)
    if neurons.way is not Way.NEURONS:
        return neurons
    reason = _separate(layer, signal)
    return neurons._replace(reason=reason) if reason else neurons._replace(way=Way.LAYER)


def _separate(layer: Layer, signal: Signal) -> str:
    """Return the reason why synapses and neurons run one after the other; empty where they do not."""
    if signal.is_constant:
        return "its input is the same at each step, so its synapses multiply once"
    if type(layer.current_norm) is not nn.Identity or is_watched(layer.current_norm):
        return "its currents are normalised, or observed"
    return "" if adds_plainly(layer.synapses) else "its synapses are not fully connected with a bias, or observed"


def adds_plainly(synapses: nn.Module) -> bool:
    """
    Tell whether synapses are one product and a bias, and nobody observes them.

    :param synapses: a linear map
    :return: True for ``nn.Linear`` with a bias; not for subclasses and parametrizations, which may do something else
    """
    plain = type(synapses) is nn.Linear and synapses.bias is not None
    return plain and not is_watched(synapses) and not operations_are_watched()
