"""Thresholds of the neurons, from the activations of the DQN on calibration states."""

import math
import re
from dataclasses import dataclass

import torch as th

from sb3_spiking.arguments import finite_float
from sb3_spiking.conversion.dense import DenseNetwork
from sb3_spiking.errors import Argument, InputError

_FORM = re.compile(r"(?:max|(?P<percent>\d+(?:\.\d+)?)%)(?:\*(?P<factor>\d+(?:\.\d+)?))?")

BATCH = 256
"""Number of states whose activations are held at once."""


@dataclass(frozen=True)
class Threshold:
    """
    Rule of the thresholds.

    :param percent: percentile of all the activations on the calibration states, zeros included, in (0, 100]; 100 is the
        maximum
    :param factor: ratio of the threshold to the percentile; headroom for states outside the calibration
    :param per_neuron: whether each neuron (channel of a convolution) has a threshold of its own, or else each layer
    """

    percent: float = 100.0
    factor: float = 1.0
    per_neuron: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < finite_float("percent", self.percent) <= 100.0:
            raise InputError(Argument("threshold", str(self)), ": the percentile must lie in (0, 100]")
        if not finite_float("factor", self.factor) > 0.0:
            raise InputError(Argument("threshold", str(self)), ": the factor must be > 0")

    @staticmethod
    def parse(text: str, per_neuron: bool) -> "Threshold":
        """
        Parse a rule: ``max``, ``99.9%`` or ``max*1.5``.

        :param text: text of the rule
        :param per_neuron: whether each neuron has a threshold of its own, or else each layer
        :return: the rule
        :raises ValueError: if the text has another form
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise InputError(Argument("threshold", text), " must look like 'max', '99.9%' or 'max*1.5'")
        return Threshold(float(match["percent"] or 100.0), float(match["factor"] or 1.0), per_neuron)

    def __str__(self) -> str:
        percentile = "max" if self.percent == 100.0 else f"{self.percent:g}%"
        return percentile + ("" if self.factor == 1.0 else f"*{self.factor:g}")


@th.no_grad()
def thresholds(network: DenseNetwork, features: th.Tensor, threshold: Threshold) -> list[th.Tensor]:
    """
    Return the thresholds of all the neurons.

    A neuron that is silent on these states gets the threshold of its layer (1 if the whole layer is silent), so that it
    can fire on other states. Percentiles are interpolated as numpy's. The last thresholds are those of the outputs, one
    value for all the actions: if the Q-values are negative, it is that of their absolute values.

    :param network: the DQN
    :param features: preprocessed calibration states, ``[N, ...]``
    :param threshold: rule of the thresholds
    :return: thresholds of each layer, ``[neurons]`` or ``[channels]``, all of them > 0
    """
    layers = [_Percentile(threshold.percent, len(features)) for _ in network.layers]
    neurons = [_Percentile(threshold.percent, len(features)) for _ in network.layers[:-1] if threshold.per_neuron]
    sizes = _Percentile(threshold.percent, len(features))
    # One pass over the states, with running percentiles of layers, neurons and absolute Q-values.
    for batch in features.split(BATCH):
        outputs = list(network.outputs(batch))
        for percentile, output in zip(layers, outputs, strict=True):
            percentile.add(output.reshape(1, -1), len(batch))
        for percentile, output in zip(neurons, outputs, strict=False):
            percentile.add(output.transpose(0, 1).flatten(1), len(batch))
        sizes.add(outputs[-1].abs().reshape(1, -1), len(batch))
    # Silent neurons take the threshold of their layer, silent layers 1.
    of_layers = [_first_positive(percentile.value(), th.ones(1)) for percentile in layers[:-1]]
    of_neurons = [percentile.value() for percentile in neurons] or of_layers
    of_outputs = _first_positive(layers[-1].value(), sizes.value(), th.ones(1))
    values = [_first_positive(each, layer) for each, layer in zip(of_neurons, of_layers, strict=True)] + [of_outputs]
    return [
        threshold.factor * value.expand(len(layer.weight)) for value, layer in zip(values, network.layers, strict=True)
    ]


def _first_positive(value: th.Tensor, *others: th.Tensor) -> th.Tensor:
    for other in others:
        value = th.where(value > 0.0, value, other)
    return value


class _Percentile:
    """
    Running percentile of each row, over batches of values; only the largest values are kept.

    :param percent: percentile, in (0, 100]
    :param states: number of states of all the batches together
    """

    def __init__(self, percent: float, states: int) -> None:
        self._percent = percent
        self._states = states
        self._largest: th.Tensor | None = None
        self._rank = 0.0

    def add(self, values: th.Tensor, states: int) -> None:
        """
        Add the values of a batch.

        :param values: ``[rows, n]``
        :param states: number of states of the batch
        """
        count = values.shape[1] // states * self._states
        self._rank = (count - 1) * (1.0 - self._percent / 100.0)
        if self._largest is not None:
            values = th.cat([self._largest, values], dim=1)
        self._largest = values.topk(min(math.floor(self._rank) + 2, values.shape[1]), dim=1).values

    def value(self) -> th.Tensor:
        """Return the percentile of each row, ``[rows]``."""
        assert self._largest is not None
        above = math.floor(self._rank)
        below = min(above + 1, self._largest.shape[1] - 1)
        return self._largest[:, above].lerp(self._largest[:, below], self._rank - above)
