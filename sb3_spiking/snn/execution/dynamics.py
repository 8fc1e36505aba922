"""Populations of neurons for the kernels: equations and constants, read off a SpikingJelly node."""

from typing import Any, NamedTuple

import torch as th
from spikingjelly.activation_based.neuron import BaseNode
from spikingjelly.activation_based.surrogate import SurrogateFunctionBase

from sb3_spiking.snn.elementwise import Elementwise
from sb3_spiking.snn.neurons import NEURON_OF_NODE
from sb3_spiking.snn.neurons.equations import Equations
from sb3_spiking.snn.surrogates import SURROGATE_OF_FUNCTION, Surrogate


class Dynamics(NamedTuple):
    """
    A population of neurons that learns.

    :ivar equations: equations of the neuron
    :ivar threshold: firing threshold
    :ivar constants: constants of the equations, without the learnt one
    :ivar learnt: learnt constant, a scalar tensor; None without one
    :ivar detach_reset: whether the gradient is stopped at the reset
    :ivar surrogate: surrogate gradient
    :ivar alpha: steepness of the surrogate, SpikingJelly's constant
    """

    equations: Equations
    threshold: float
    constants: tuple[float, ...]
    learnt: th.Tensor | None
    detach_reset: bool
    surrogate: type[Surrogate]
    alpha: float

    def slope(self) -> tuple[Elementwise, tuple[float, ...]]:
        """Return the derivative of the surrogate, and its constants."""
        derivative, constants = self.surrogate.derivative, self.surrogate.constants
        assert derivative is not None  # surrogates without are in no table
        assert constants is not None
        return derivative, constants(self.alpha)

    def spike_function(self) -> SurrogateFunctionBase:
        """Return SpikingJelly's surrogate."""
        return self.surrogate.function(alpha=self.alpha)


class Gradients(NamedTuple):
    """
    Gradients of a population in the backward pass.

    :ivar current: gradient of the current, ``[T, N, ...]``, or without a step for a constant current
    :ivar constant: gradient of a constant current: the sum over the steps, ``[N, ...]``
    :ivar learnt: gradient of the learnt constant; None without one
    """

    current: th.Tensor
    constant: th.Tensor
    learnt: th.Tensor | None


def surrogate_of(node: BaseNode) -> Any:
    """Return a node's surrogate; looked up as an attribute it takes 3 us, in each layer of each decision."""
    return node._modules.get("surrogate_function")


class Firing(NamedTuple):
    """
    A population of neurons that only fires, without its surrogate.

    :ivar equations: equations of the neuron
    :ivar threshold: firing threshold
    :ivar constants: constants of the equations, without the learnt one
    :ivar learnt: learnt constant, a scalar tensor; None without one
    """

    equations: Equations
    threshold: float
    constants: tuple[float, ...]
    learnt: th.Tensor | None


def firing_of(node: BaseNode) -> Firing | str:
    """
    Read equations and constants off a node.

    Only exact types are known, since a subclass may have other dynamics.

    :param node: multi-step SpikingJelly node
    :return: the population; the reason in words where no kernel can run it
    """
    neuron = NEURON_OF_NODE.get(type(node))
    if neuron is None:
        return f"no equations are known of {type(node).__name__}"
    if not getattr(surrogate_of(node), "spiking", False):
        return "its surrogate does not spike (spiking=False)"
    if node.__dict__.get("_store_v_seq"):
        return "it keeps its membranes (store_v_seq=True)"
    if node.__dict__.get("_neuron_precision") is not None:
        return "it computes in a precision of its own"
    reset, constants = neuron.reset_of(node), neuron.constants_of(node)
    if reset is None:
        return f"no equations are known of its reset (v_reset={node.v_reset})"
    if constants is None:
        return f"no equations are known of this {type(node).__name__}"
    learnt = None if neuron.learnt_backward is None else neuron.learnt_of(node)
    return Firing(neuron.equations_with(reset), node.v_threshold, constants, learnt)


def dynamics_of(node: BaseNode) -> Dynamics | str:
    """
    Read equations, constants and surrogate off a node.

    :param node: multi-step SpikingJelly node
    :return: the population; the reason in words where no kernel can run it
    """
    firing = firing_of(node)
    if isinstance(firing, str):
        return firing
    surrogate = surrogate_of(node)
    known = SURROGATE_OF_FUNCTION.get(type(surrogate))
    if known is None:
        return f"no derivative is known of the surrogate {type(surrogate).__name__}"
    return Dynamics(*firing, node.detach_reset, known, float(surrogate.alpha))
