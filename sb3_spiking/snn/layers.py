"""
Layers of spiking neurons: synapses, then neurons, over all the time steps.

A layer holds no state between calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch as th
from torch import nn
from torch.func import functional_call

from sb3_spiking.arguments import choice
from sb3_spiking.snn.description import Stage
from sb3_spiking.snn.execution.backends import unsupported
from sb3_spiking.snn.execution.choose import Way, adds_plainly, choose_layer, convolves_plainly
from sb3_spiking.snn.execution.populations import record_neurons, run_neurons
from sb3_spiking.snn.firing_penalty import FiringPenalty
from sb3_spiking.snn.neurons import Neuron
from sb3_spiking.snn.options import MEMBRANE_NORMS, SpikingOptions
from sb3_spiking.snn.precisions import PRECISIONS, warn_where_emulated
from sb3_spiking.snn.recording import PopulationRecord
from sb3_spiking.snn.signal import Signal
from sb3_spiking.snn.surrogates import Surrogate, window


class SpikingLayer(nn.Module):
    """
    A linear map of spikes and a population of neurons.

    :param name: name of the population in recordings
    :param synapses: ``nn.Linear`` or ``nn.Conv2d``
    :param neuron: neuron and its constants
    :param surrogate: surrogate gradient and its constants
    :param precision: precision of the products, a key of ``PRECISIONS``
    :param current_norm: normalisation of the input currents, a module of ``[T * N, ...]``
    :param penalty: penalty on the firing rate, in training
    """

    feedback: ClassVar[Callable[..., th.Tensor] | None] = None
    """Current that the spikes of a step add to the next step; None without lateral connections."""

    def __init__(
        self,
        name: str,
        synapses: nn.Module,
        neuron: Neuron,
        surrogate: Surrogate,
        precision: str = "float32",
        current_norm: nn.Module | None = None,
        penalty: FiringPenalty | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.synapses = synapses
        self.current_norm = nn.Identity() if current_norm is None else current_norm
        self.neuron = neuron.build(surrogate)
        self.product_dtype = choice("precision", precision, PRECISIONS)
        self.penalty = penalty

    def current(self, inputs: th.Tensor) -> th.Tensor:
        """
        Return the input current of the neurons.

        :param inputs: spikes or currents of some steps, ``[T, N, ...]``
        :return: current of the same steps, ``[T, N, ...]``
        """
        current = self.current_norm(self._products(inputs.flatten(0, 1), len(inputs)))
        # reshape, not unflatten: with that the older ONNX exporter makes the batch size a constant.
        return current.reshape(len(inputs), -1, *current.shape[1:])

    def _products(self, inputs: th.Tensor, time_steps: int) -> th.Tensor:
        synapses, dtype = self.synapses, self.product_dtype
        if inputs.dim() == 4:
            # On channels-last memory convolutions take half of the time, forward and backward.
            inputs = inputs.contiguous(memory_format=th.channels_last)
        if adds_plainly(synapses) and (dtype is not None or unsupported(inputs) is None):
            from sb3_spiking.snn.execution.sparse_products import differentiable_product

            # The rounding of the fused layer, so that observed and unobserved runs agree.
            return differentiable_product(inputs, synapses.weight, dtype) + synapses.bias  # type: ignore[arg-type, operator]
        if dtype is None and convolves_plainly(synapses) and unsupported(inputs) is None:
            from sb3_spiking.snn.execution.sparse_convolutions import convolution

            return convolution(inputs, time_steps, synapses.weight, synapses.bias, synapses.stride)  # type: ignore[arg-type]
        if dtype is None:
            return synapses(inputs)
        rounded = {name: p.to(dtype) for name, p in synapses.named_parameters()}
        return functional_call(synapses, rounded, (inputs.to(dtype),)).to(inputs.dtype)

    def forward(self, inputs: Signal | th.Tensor) -> th.Tensor:
        """
        Run all the time steps, from rest to rest.

        :param inputs: a signal, or spikes ``[T, N, ...]``
        :return: spikes, ``[T, N, ...]``
        """
        signal = Signal.of(inputs)
        if self.product_dtype is not None and signal.values.device.type == "cpu":
            warn_where_emulated()
        spikes = self._run(signal)
        return spikes if self.penalty is None else self.penalty(spikes)

    def _run(self, signal: Signal) -> th.Tensor:
        execution = choose_layer(self, signal)
        if execution.way is not Way.LAYER:
            return run_neurons(self.neuron, self.current(signal.once()), signal.time_steps, self.feedback)
        from sb3_spiking.snn.execution.autograd import run_layer

        synapses: nn.Linear = self.synapses  # type: ignore[assignment]
        dtype = self.product_dtype
        return run_layer(execution.dynamics, signal.values, synapses.weight, synapses.bias, signal.activity, dtype)

    @th.no_grad()
    def record(self, inputs: Signal | th.Tensor) -> PopulationRecord:
        """
        Run all the time steps as ``forward`` does, and record the population.

        :param inputs: a signal, or spikes ``[T, N, ...]``
        :return: spikes and membranes
        """
        signal = Signal.of(inputs)
        current = self.current(signal.once())
        current = current.expand(signal.time_steps, *current.shape[1:])
        spikes, margin = record_neurons(self.neuron, current, self.feedback)
        return PopulationRecord(self.name, spikes, margin, window(self.neuron._modules.get("surrogate_function")))

    def stage(self, inputs: Sequence[str]) -> Stage:
        """
        Describe the layer.

        :param inputs: names of the sources and stages that it reads
        :return: its stage
        """
        norm = None if type(self.current_norm) is nn.Identity else self.current_norm
        choose = partial(choose_layer, self)
        return Stage(self.name, tuple(inputs), self.synapses, self.neuron, self.record, choose, norm)


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
        """Return the lateral current, ``[N, features]``, of spikes of the same shape."""
        return super()._conv_forward(spikes.reshape(-1, self.in_channels, self.kernel_size[0]), weight, bias).flatten(1)


class IntraConnectedLayer(SpikingLayer):
    """
    Layer of several populations with lateral connections within each (ILC-SAN, Chen et al., 2024)::

        x_t = W s_in_t + b + R s_{t-1} + r                 R connects the neurons of one population

    :param populations: number of populations, a divisor of the layer's neurons
    :param name: name of the population in recordings
    :param synapses: fully connected synapses
    :param args: other arguments of [`SpikingLayer`][sb3_spiking.snn.SpikingLayer]
    """

    def __init__(self, populations: int, name: str, synapses: nn.Linear, *args: Any) -> None:
        super().__init__(name, synapses, *args)
        self.intra = IntraConnections(populations, synapses.out_features // populations)

    def feedback(self, spikes: th.Tensor) -> th.Tensor:
        return self.intra(spikes)

    def stage(self, inputs: Sequence[str]) -> Stage:
        return replace(super().stage(inputs), feedback=self.intra)


def hidden_layer(name: str, synapses: nn.Linear | nn.Conv2d, options: SpikingOptions) -> SpikingLayer:
    """
    Make a hidden layer.

    :param name: name of the population in recordings
    :param synapses: linear map
    :param options: neuron, surrogate, precision and normalisation
    :return: the layer
    """
    neuron, norm = options.neuron_options(), MEMBRANE_NORMS[options.membrane_norm]
    current_norm = None if norm is None else norm(synapses.weight.shape[0], neuron.threshold)
    arguments = (neuron, options.surrogate_options(), options.precision, current_norm, options.penalty())
    return SpikingLayer(name, synapses, *arguments)


def output_layer(synapses: nn.Linear, populations: int, options: SpikingOptions) -> SpikingLayer:
    """
    Make the layer of the output populations.

    :param synapses: linear map
    :param populations: number of outputs
    :param options: neuron, surrogate, precision and connections
    :return: the layer
    """
    neuron, surrogate = options.neuron_options(), options.surrogate_options()
    arguments = ("output", synapses, neuron, surrogate, options.precision, None, options.penalty())
    return IntraConnectedLayer(populations, *arguments) if options.intra_connections else SpikingLayer(*arguments)
