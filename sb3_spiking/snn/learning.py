"""
Learning: decisions with gradients as one function of autograd, for a whole network.

The forward pass is the kernel of [`acting`][sb3_spiking.snn.acting], which keeps the states of the neurons for the
backward pass. Layer by layer, a small batch would cost calls more than arithmetic. The modules run themselves where
acting does not apply, where currents are normalised or firing rates penalised, where neurons learn a constant or differ
from layer to layer, and where a backward pass is itself differentiated.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch as th
from torch import nn
from torch.func import functional_call

from sb3_spiking.snn.acting import run
from sb3_spiking.snn.execution.dynamics import Dynamics, dynamics_of
from sb3_spiking.snn.execution.kept import Kept
from sb3_spiking.snn.network_plan import UNCHANGED, Arrays, Encoding, Network, Segment, planned

Decode = Callable[[th.Tensor], th.Tensor]
"""The modules up to the decoder, from features ``[N, size]`` to ``[N, out_dim]``."""


class _Modules(nn.Module):
    """
    A network up to its decoder, whose parameters can be replaced (``functional_call``).

    :param network: spiking network
    :param decode: its modules up to the decoder
    """

    def __init__(self, network: Any, decode: Decode) -> None:
        super().__init__()
        self.network = network
        self.decode = decode

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Run the modules.

        :param features: ``[N, size]``
        :return: ``[N, out_dim]``
        """
        return self.decode(features)


class _Call(NamedTuple):
    """
    A network as a forward pass sees it.

    :ivar arrays: arrays of the parameters, without output activation
    :ivar encoding: input stage
    :ivar segments: all the layers as one segment
    :ivar dynamics: neurons of each layer
    :ivar dtypes: type that the factors of each layer's products are rounded to
    :ivar network: the network itself
    :ivar modules: its modules up to the decoder
    :ivar names: names of the parameters in these modules
    """

    arrays: Arrays
    encoding: Encoding
    segments: tuple[Segment, ...]
    dynamics: tuple[Dynamics, ...]
    dtypes: tuple[th.dtype | None, ...]
    network: Any
    modules: Decode
    names: tuple[str, ...]

    @property
    def time_steps(self) -> int:
        """Number of time steps."""
        return self.arrays.readout.step_weights.size

    def rows(self, layer: int, count: int) -> int:
        """Return the number of inputs of a layer for some observations: currents are the same at each step."""
        is_constant = layer == 0 and self.encoding.threshold == 0.0
        return count if is_constant else self.time_steps * count


def decode(network: Network, features: th.Tensor, modules: Decode) -> th.Tensor | None:
    """
    Decide for some observations up to the decoder, with gradients.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :param modules: the modules up to the decoder, for gradients that are differentiated again
    :return: output of the decoder, ``[N, out_dim]``; None where the modules must run themselves
    :raises ValueError: if a feature is NaN or infinite
    """
    call = _call(network, features, modules)
    if isinstance(call, str):
        return None
    parameters = [network.encoder.mean, network.encoder.std] if call.encoding.centres.size else []
    for layer in (*(layer.synapses for layer in network.layers), network.decoder):
        parameters += [layer.weight, layer.bias]
    if not any(tensor.requires_grad for tensor in (features, *parameters)):
        return None
    return _Decode.apply(call, features, *parameters)


def reason_against(network: Network, features: th.Tensor) -> str:
    """
    Return the reason why a network does not learn at once.

    :param network: spiking network
    :param features: features, ``[N, size]``
    :return: reason in words; empty where it does
    """
    call = _call(network, features, lambda features: features)
    return call if isinstance(call, str) else ""


def _call(network: Network, features: th.Tensor, modules: Decode) -> _Call | str:
    """Return the network as the kernels see it, or the reason why the modules must run themselves."""
    found = planned(network, features)
    if isinstance(found, str):
        return found
    plan, arrays, segments = found
    encoding = arrays.encoding
    if encoding is None:
        return "its input stage has no kernel"
    if arrays.readout is arrays.only_spikes:
        return "its decoder is not linear"
    if len(segments) > 1:
        return "its layers have different neurons"
    dynamics = []
    for node in plan.nodes:
        one = dynamics_of(node)
        if isinstance(one, str):
            return one
        if one.learnt is not None:
            return "its neurons learn a constant"
        dynamics.append(one)
    if any(layer.current_norm._parameters for layer in network.layers):
        return "its currents are normalised"
    if any(layer.penalty is not None for layer in network.layers):
        return "its firing rates are penalised"
    dtypes = tuple(layer.product_dtype for layer in network.layers)
    arrays = replace(arrays, readout=arrays.readout._replace(squashed=False))
    layers = [*(f"layers.{index}.synapses" for index in range(len(dynamics))), "decoder"]
    names = [f"encoder.{name}" for name in ("mean", "std") if encoding.centres.size]
    names += [f"{layer}.{name}" for layer in layers for name in ("weight", "bias")]
    names = [f"network.{name}" for name in names]
    return _Call(arrays, encoding, segments, tuple(dynamics), dtypes, network, modules, tuple(names))


def warm_up(network: Network, modules: Decode) -> None:
    """
    Compile the kernels of a network, or load them from numba's cache, so that no gradient waits for it.

    :param network: spiking network
    :param modules: the modules up to the decoder
    """
    if th.is_inference_mode_enabled():  # such parameters have no gradients
        return
    with th.enable_grad():
        decoded = decode(network, th.zeros(1, network.size, requires_grad=True), modules)
        if decoded is not None:
            th.autograd.grad(decoded.sum(), network.decoder.bias)


class _Decode(th.autograd.Function):
    """Decoded spikes of a network from rest, with the surrogate gradient through time."""

    @staticmethod
    def forward(ctx: Any, call: _Call, features: th.Tensor, *parameters: th.Tensor) -> th.Tensor:
        from sb3_spiking.snn.execution.lanes import BITS  # the kernels may read so many values behind the spikes

        count, layers = len(features), call.arrays.layers.tolist()
        kept = sum(call.time_steps * count * neurons * call.dynamics[0].equations.kept for _, _, neurons, *_ in layers)
        inputs = sum(call.rows(layer, count) * fan_in for layer, (_, _, _, fan_in, *_) in enumerate(layers))
        sizes = (inputs + BITS, kept, count * call.encoding.centres.size, count * layers[-1][2])
        memory = tuple(map(features.new_empty, sizes))
        observations = features.detach().contiguous().numpy()
        decoded = run(
            call.arrays, call.segments, observations, UNCHANGED, call.encoding, Kept(*(m.numpy() for m in memory))
        )
        if decoded is None:
            return call.modules(features)  # which raises, with the reason
        ctx.call = call
        ctx.save_for_backward(features, *memory, *parameters)
        return th.from_numpy(decoded)

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, ...]:
        features, inputs, traces, activity, sums, *parameters = ctx.saved_tensors
        call: _Call = ctx.call
        if th.is_grad_enabled():
            from sb3_spiking.snn.execution.autograd import differentiable_gradients

            def decoded(features: th.Tensor, *parameters: th.Tensor) -> th.Tensor:
                modules = _Modules(call.network, call.modules)
                named = dict(zip(call.names, parameters, strict=True))
                return functional_call(modules, named, (features,), tie_weights=False)

            return (None, *differentiable_gradients(decoded, (features, *parameters), gradient))
        kept = Kept(*(memory.numpy() for memory in (inputs, traces, activity, sums)))
        layers = 2 * len(call.dynamics) + 2  # weight and bias of each, and of the decoder
        wanted = ctx.needs_input_grad[1:]
        with th.autocast("cpu", enabled=False):  # the kernels are those of float32
            below, of_layers = _backward_layers(call, gradient, kept, parameters[-layers:], wanted[-layers:])
            of_input = _backward_input(call, below, kept, features, parameters, wanted[:-layers])
        return (None, *of_input, *of_layers)


def _backward_layers(
    call: _Call, gradient: th.Tensor, kept: Kept, parameters: Sequence[th.Tensor], wanted: Sequence[bool]
) -> tuple[th.Tensor, list[th.Tensor | None]]:
    """
    Backpropagate from the decoder to the first layer.

    :param call: network
    :param gradient: gradient of what was decoded, ``[N, out_dim]``
    :param kept: what the forward pass kept
    :param parameters: weight and bias of each layer and of the decoder
    :param wanted: whether the gradient of each of them is wanted
    :return: sum of the gradients of the first current over the steps, ``[N, neurons]``; gradients of the parameters
    """
    from sb3_spiking.snn.execution import learning_kernels, sparse_products
    from sb3_spiking.snn.execution.lanes import BITS
    from sb3_spiking.snn.execution.numba_loops import numbers
    from sb3_spiking.snn.execution.rounded_products import multiply

    count, time_steps, readout = len(gradient), call.time_steps, call.arrays.readout
    weights = parameters[::2]
    grad_weight, spikes = th.empty_like(weights[-1]), gradient.new_empty(time_steps, kept.sums.size)
    learning_kernels.decoder_gradients(
        gradient.contiguous().numpy(),
        kept.sums.reshape(count, -1),
        readout.step_weights,
        readout.weight,
        readout.populations,
        grad_weight.numpy(),
        spikes.numpy().reshape(-1),
    )
    gradients: list[th.Tensor | None] = [gradient.sum(dim=0) * float(readout.step_weights.sum()), grad_weight]
    # What was kept of the layers is read from the end.
    trace_end, inputs_end = kept.traces.size, kept.inputs.size - BITS
    for layer in reversed(range(len(call.dynamics))):
        weight, dynamics, dtype = weights[layer], call.dynamics[layer], call.dtypes[layer]
        neurons, fan_in = weight.shape
        rows = call.rows(layer, count)
        trace_start = trace_end - dynamics.equations.kept * time_steps * count * neurons
        inputs_start = inputs_end - rows * fan_in
        derivative, surrogate_constants = dynamics.slope()
        total = gradient.new_empty(count, neurons)
        learning_kernels.through_time(dynamics.equations, derivative)(
            spikes.numpy(),
            kept.traces[trace_start:trace_end],
            rows == count,
            total.numpy(),
            np.float32(dynamics.threshold),
            numbers(dynamics.constants, np.dtype(np.float32)),
            np.float32(0.0 if dynamics.detach_reset else 1.0),
            numbers(surrogate_constants, np.dtype(np.float32)),
        )
        current = total if rows == count else spikes.view(rows, neurons)
        inputs = th.from_numpy(kept.inputs[inputs_start:inputs_end]).view(rows, fan_in)
        learns = wanted[2 * layer]
        of_weight = sparse_products.gradient_of_weight(current, inputs, dtype) if learns else None
        gradients += [total.sum(dim=0), of_weight]
        if layer > 0:
            spikes = multiply(current, weight, dtype).view(time_steps, -1)
        trace_end, inputs_end = trace_start, inputs_start
    return total, gradients[::-1]


def _backward_input(
    call: _Call,
    current: th.Tensor,
    kept: Kept,
    features: th.Tensor,
    parameters: Sequence[th.Tensor],
    wanted: Sequence[bool],
) -> list[th.Tensor | None]:
    """
    Backpropagate through the input stage.

    :param call: network
    :param current: sum of the gradients of the first current over the steps, ``[N, neurons]``
    :param kept: what the forward pass kept
    :param features: features, ``[N, size]``
    :param parameters: means and widths of receptive fields, if any, then the weights of the first layer
    :param wanted: whether the gradients of the features, and of means and widths, are wanted
    :return: these gradients
    """
    from sb3_spiking.snn.execution import learning_kernels
    from sb3_spiking.snn.execution.rounded_products import multiply

    if not any(wanted):
        return [None for _ in wanted]
    *fields, weight = parameters[: len(wanted)]
    pull = multiply(current, weight, call.dtypes[0])
    if not fields:
        return [pull]
    observations = features.new_empty(features.shape if wanted[0] else (0, 0))
    centres, widths = map(th.empty_like, fields)
    learning_kernels.field_gradients(
        pull.numpy(),
        features.detach().contiguous().numpy(),
        kept.activity.reshape(pull.shape),
        call.encoding.centres,
        call.encoding.widths,
        call.encoding.narrowest,
        centres.numpy(),
        widths.numpy(),
        observations.numpy(),
    )
    return [observations if wanted[0] else None, centres, widths]
