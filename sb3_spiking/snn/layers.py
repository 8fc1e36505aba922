"""
Layers of spiking neurons: synapses, then neurons, over all the time steps.

A layer knows nothing of what came before and keeps nothing for what comes next.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch as th
from torch import nn
from torch.func import functional_call

from sb3_spiking.arguments import choice
from sb3_spiking.snn import kernels, neurons
from sb3_spiking.snn.neurons import Neuron
from sb3_spiking.snn.precisions import PRECISIONS, warn_where_emulated
from sb3_spiking.snn.recording import Recording, is_constant, synapses_of
from sb3_spiking.snn.straight_through import activity_of
from sb3_spiking.snn.surrogates import Surrogate, window
from sb3_spiking.snn.watching import is_watched, operations_are_watched


class SpikingLayer(nn.Module):
    """
    A linear map of spikes and a population of neurons.

    :param name: name of the population in recordings
    :param synapses: ``nn.Linear`` or ``nn.Conv2d``
    :param neuron: which neuron
    :param surrogate: which surrogate gradient
    :param precision: precision of the products, a key of ``PRECISIONS``
    :param current_norm: normalisation of the input currents, a module of ``[T * N, ...]``
    """

    feedback: ClassVar[Callable[..., th.Tensor] | None] = None
    """Current that the spikes of a step add to the next step; None where a layer hears what is before it alone."""

    def __init__(
        self,
        name: str,
        synapses: nn.Module,
        neuron: Neuron,
        surrogate: Surrogate,
        precision: str = "float32",
        current_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.synapses = synapses
        self.current_norm = nn.Identity() if current_norm is None else current_norm
        self.neuron = neuron.build(surrogate)
        self.product_dtype = choice("precision", precision, PRECISIONS)

    def current(self, inputs: th.Tensor) -> th.Tensor:
        """
        Return the input current of the neurons.

        :param inputs: ``[T, N, ...]``; one that is constant over the steps (expanded) costs one product
        :return: ``[T, N, ...]``
        """
        if is_constant(inputs):
            current = self.current(inputs[:1])
            return current.expand(inputs.shape[0], *current.shape[1:])
        current = self.current_norm(self._products(inputs.flatten(0, 1)))
        # Not unflatten: the older ONNX exporter makes its batch size a constant.
        return current.reshape(len(inputs), -1, *current.shape[1:])

    def _products(self, inputs: th.Tensor) -> th.Tensor:
        synapses = self.synapses
        if inputs.dim() == 4:
            # Channels side by side in memory: convolutions take half as long, back and forth.
            inputs = inputs.contiguous(memory_format=th.channels_last)
        if self._adds_plainly():
            # As the fused layer rounds: whoever looks must see the same spikes.
            product = kernels.product(inputs, synapses.weight, self.product_dtype)  # type: ignore[arg-type]
            return product + synapses.bias  # type: ignore[operator]
        if self.product_dtype is None:
            return synapses(inputs)
        rounded = {name: p.to(self.product_dtype) for name, p in synapses.named_parameters()}
        return functional_call(synapses, rounded, (inputs.to(self.product_dtype),)).to(inputs.dtype)

    def forward(self, inputs: th.Tensor, recording: Recording | None = None) -> th.Tensor:
        """
        Run all the time steps, from rest to rest.

        :param inputs: ``[T, N, ...]``
        :param recording: where to add what the layer did; there is no gradient then
        :return: spikes, ``[T, N, ...]``
        """
        if self.product_dtype is not None and inputs.device.type == "cpu":
            warn_where_emulated()
        if recording is None:
            return self._run(inputs)
        current = self.current(inputs)
        recording.add_synapses(self.name, synapses_of(self.synapses), inputs)
        return self._record(current, recording)

    def _run(self, inputs: th.Tensor) -> th.Tensor:
        equations = self._fused_equations(inputs)
        if equations is None:
            current = self.current(inputs[:1] if is_constant(inputs) else inputs)
            return neurons.fire(self.neuron, current, len(inputs), self.feedback)
        synapses: nn.Linear = self.synapses  # type: ignore[assignment]
        activity, dtype = activity_of(inputs), self.product_dtype
        return kernels.fire_connected(equations, inputs, synapses.weight, synapses.bias, activity, dtype)

    def _fused_equations(self, inputs: th.Tensor) -> kernels.Equations | None:
        """Return what runs synapses and neurons at once, None where they run one after the other."""
        norm = self.current_norm
        plain = type(norm) is nn.Identity and not is_watched(norm) and self.feedback is None
        if not plain or is_constant(inputs) or not self._adds_plainly():
            return None
        return neurons.fused_equations(self.neuron, inputs)

    def _adds_plainly(self) -> bool:
        """Tell whether the synapses are one product and a bias, and nobody looks."""
        # Exact type: a subclass, or a parametrization, may do something else.
        plain = type(self.synapses) is nn.Linear and self.synapses.bias is not None
        looked_at = is_watched(self.synapses) or operations_are_watched()
        return plain and not looked_at

    def _record(self, current: th.Tensor, recording: Recording) -> th.Tensor:
        spikes, margin = neurons.record(self.neuron, current, self.feedback)
        recording.add_population(self.name, spikes, margin, window(self.neuron._modules.get("surrogate_function")))
        return spikes.to(current)


class IntraConnections(nn.Conv1d):
    """
    Connections within each of several populations, none between them.

    A grouped convolution as wide as a population, as published: weights ``[features, 1, population]``.

    :param populations: number of populations
    :param population: neurons in each of them
    """

    def __init__(self, populations: int, population: int) -> None:
        super().__init__(populations, populations * population, population, groups=populations)

    def _conv_forward(self, spikes: th.Tensor, weight: th.Tensor, bias: th.Tensor | None) -> th.Tensor:
        """Return what each neuron hears, ``[N, features]``, of spikes of the same shape."""
        return super()._conv_forward(spikes.reshape(-1, self.in_channels, self.kernel_size[0]), weight, bias).flatten(1)


class IntraConnectedLayer(SpikingLayer):
    """
    A layer of several populations whose neurons also hear each other's last spikes (ILC-SAN, Chen et al., 2024)::

        x_t = W s_in_t + b + R s_{t-1} + r                 R connects the neurons of one population

    :param populations: number of populations, a divisor of the layer's neurons
    :param name: see [`SpikingLayer`][sb3_spiking.snn.SpikingLayer]
    :param synapses: fully connected
    :param args: see [`SpikingLayer`][sb3_spiking.snn.SpikingLayer]
    """

    def __init__(self, populations: int, name: str, synapses: nn.Linear, *args: Any) -> None:
        super().__init__(name, synapses, *args)
        self.intra = IntraConnections(populations, synapses.out_features // populations)

    def feedback(self, spikes: th.Tensor) -> th.Tensor:
        return self.intra(spikes)

    def _record(self, current: th.Tensor, recording: Recording) -> th.Tensor:
        spikes = super()._record(current, recording)
        if len(spikes) > 1:
            recording.add_synapses(f"{self.name}_intra", synapses_of(self.intra), spikes[:-1])
        return spikes
