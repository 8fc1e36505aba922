"""The Q-network of a trained DQN as a plain stack of layers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import torch as th
from gymnasium import spaces
from torch import nn

from sb3_spiking.reading.checkpoint import Checkpoint

Layer = nn.Linear | nn.Conv2d
MAX_VALUES, MAX_MACS = 2**26, 2**36
"""Limits of a decision: outputs of all layers, and multiply-accumulates; Atari's network has 22,000 and 9 million."""
_L = TypeVar("_L", nn.Linear, nn.Conv2d)


class DenseNetwork(nn.Module):
    """
    Linear maps with ReLUs between them; fully connected layers flatten their inputs.

    :param layers: ``nn.Linear`` and ``nn.Conv2d``, at least two
    """

    layers: Sequence[Layer]

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Return the Q-values.

        :param features: preprocessed observations, ``[N, ...]``
        :return: ``[N, actions]``
        """
        *_, outputs = self.outputs(features)
        return outputs

    def outputs(self, features: th.Tensor) -> Iterator[th.Tensor]:
        """
        Return the output of each layer before its ReLU.

        :param features: preprocessed observations, ``[N, ...]``
        :return: output of each layer, ``[N, ...]``, the Q-values last
        """
        activation = features
        for layer in self.layers:
            output = apply(layer, activation)
            yield output
            activation = output.relu()


def apply(layer: Layer, inputs: th.Tensor) -> th.Tensor:
    """
    Apply a layer; a fully connected one to flattened inputs.

    :param layer: ``nn.Linear`` or ``nn.Conv2d``
    :param inputs: ``[N, ...]``
    :return: ``[N, ...]``
    """
    return layer(inputs.flatten(1) if isinstance(layer, nn.Linear) else inputs)


def check_decision(layers: Sequence[Layer], shape: tuple[int, ...], time_steps: int = 1) -> tuple[int, ...]:
    """
    Check by their shapes that layers fit each other, and that one decision fits into memory and time.

    :param layers: ``nn.Linear`` and ``nn.Conv2d``
    :param shape: shape of the features
    :param time_steps: number of evaluations of each layer
    :return: output shape of the last layer
    :raises ValueError: if they do not fit, or a decision would take more than ``MAX_VALUES`` or ``MAX_MACS``
    """
    values = macs = 0
    for index, layer in enumerate(layers):
        shape = _output_shape(index, layer, shape)
        values += time_steps * math.prod(shape)
        macs += time_steps * layer.weight.numel() * math.prod(shape[1:])
    if values > MAX_VALUES or macs > MAX_MACS:
        raise ValueError(
            f"a decision of {time_steps} time steps would take {values:.2g} values in memory and {macs:.2g} "
            f"multiply-accumulates; at most {MAX_VALUES:.2g} and {MAX_MACS:.2g} are allowed"
        )
    return shape


def _output_shape(index: int, layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(layer, nn.Linear):
        if math.prod(shape) == layer.in_features:
            return (layer.out_features,)
    elif len(shape) == 3 and shape[0] == layer.in_channels:
        sides = [
            (size - kernel) // stride + 1
            for size, kernel, stride in zip(shape[1:], layer.kernel_size, layer.stride, strict=True)
        ]
        if min(sides) > 0:
            return (layer.out_channels, *sides)
    raise ValueError(f"layer {index} with weights {tuple(layer.weight.shape)} does not fit its inputs {shape}")


def dense_network(checkpoint: Checkpoint) -> DenseNetwork:
    """
    Rebuild the network of a DQN; the quantiles of a QRDQN are averaged in its last layer, which is exact.

    :param checkpoint: content of the agent's file
    :return: the network, without gradients
    :raises ValueError: if it is no stack of ReLU layers; the message gives the reason
    """
    weights = checkpoint.weights
    if checkpoint.activation != "ReLU":
        raise ValueError(
            f"activation_fn={checkpoint.activation} cannot be converted: spikes carry what a ReLU gives; "
            "train the DQN with ReLU, SB3's default"
        )
    head = "q_net" if checkpoint.n_quantiles is None else "quantile_net"
    layers = _torso(checkpoint)
    layers += [_linear(weights, name) for name in _indexed(weights, head)]
    if len(layers) < 2:
        raise ValueError("the Q-network has no hidden layer, so nothing in it could spike")
    if checkpoint.n_quantiles is not None:
        layers[-1] = _mean_of_quantiles(layers[-1], checkpoint.n_quantiles)
    return DenseNetwork(layers).requires_grad_(False).eval()


def _torso(checkpoint: Checkpoint) -> list[Layer]:
    """Return the layers of the features extractor: convolutions and a linear map for images, else none."""
    weights, strides = checkpoint.weights, checkpoint.strides
    if strides and isinstance(checkpoint.observation_space, spaces.Dict) and len(checkpoint.observation_space) > 1:
        raise ValueError(
            "Dict observations with an image beside other entries cannot be converted: their branches join behind the "
            "convolutions, and a conversion needs one stack of layers"
        )
    layers: list[Layer] = []
    for name, stride in strides.items():
        channels, inputs, kernel, _ = weights[f"{name}.weight"].shape
        layers.append(_load(nn.utils.skip_init(nn.Conv2d, inputs, channels, kernel, stride), weights, name))
    # Behind the convolutions there is one fully connected layer.
    names = {name.rpartition(".")[0] for name in weights if name.startswith("features_extractor.")}
    return [*layers, *(_linear(weights, name) for name in names - strides.keys())]


def _indexed(weights: Mapping[str, th.Tensor], stack: str) -> list[str]:
    """Return the names ``<stack>.<index>`` of the layers, in order."""
    kinds = [name.removeprefix(f"{stack}.") for name in weights if name.startswith(f"{stack}.")]
    return [f"{stack}.{index}" for index in sorted({int(kind.split(".")[0]) for kind in kinds})]


def _linear(weights: Mapping[str, th.Tensor], name: str) -> nn.Linear:
    outputs, inputs = weights[f"{name}.weight"].shape
    return _load(nn.utils.skip_init(nn.Linear, inputs, outputs), weights, name)


def _load(layer: _L, weights: Mapping[str, th.Tensor], name: str) -> _L:
    layer.load_state_dict({kind: weights[f"{name}.{kind}"] for kind in ("weight", "bias")})
    return layer


def _mean_of_quantiles(last: Layer, quantiles: int) -> nn.Linear:
    """Average the rows of a layer, ``[quantiles * actions, ...]`` with actions fastest, over the quantiles."""
    mean = {kind: rows.unflatten(0, (quantiles, -1)).mean(0) for kind, rows in last.state_dict().items()}
    return _linear({f"mean.{kind}": rows for kind, rows in mean.items()}, "mean")
