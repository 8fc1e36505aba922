"""
Decoders: the spikes of the last population become numbers.

A decoder is a linear map of the spikes and a statistic over the steps. With ``x_t = W s_t + b``::

    rate          (1 / T) sum_t x_t                        W . firing rate + b  (PopSAN, Tang et al., 2020)
    accumulated   sum_t x_t                                last membrane of a neuron without leak
    last          v_T,   v_t = membrane_decay v_{t-1} + x_t
    mean          (1 / T) sum_t v_t
    max           max_t v_t                                (DSQN, Chen et al., 2022)

The membranes are those of neurons that never fire (ILC-SAN, Chen et al., 2024). All but ``max`` are linear
in the spikes: weights over the steps come first, then one product.

The map is dense, or, with an output population per dimension, one small linear map for each population.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_spiking.arguments import finite_float, positive_int
from sb3_spiking.snn.recording import Synapses


@dataclass(frozen=True)
class Statistic(ABC):
    """A statistic of the decoder over the steps."""

    name: ClassVar[str]

    @abstractmethod
    def step_weights(self, time_steps: int) -> tuple[list[float], float] | None:
        """
        Return the weights of the steps, where the statistic is linear in the spikes.

        :param time_steps: number of steps ``T``
        :return: ``T`` weights and the divisor of their sum; None where the statistic is not linear
        """

    def reduce(self, currents: th.Tensor) -> th.Tensor:
        """
        Compute the statistic; one that is not linear replaces this.

        :param currents: linear map of the spikes of each step, ``[T, N, out_dim]``
        :return: decoded values, ``[N, out_dim]``
        :raises TypeError: if the statistic is not linear and has no ``reduce`` of its own
        """
        linear = self.step_weights(len(currents))
        if linear is None:
            raise TypeError(f"{type(self).__name__} is not linear (step_weights is None): it needs a reduce of its own")
        weights, divisor = linear
        return th.tensordot(currents.new_tensor(weights), currents, dims=1) / divisor


@dataclass(frozen=True)
class Rate(Statistic):
    """Firing rates, each in [0, 1]."""

    name: ClassVar[str] = "rate"

    def step_weights(self, time_steps: int) -> tuple[list[float], float]:
        return [1.0] * time_steps, float(time_steps)


@dataclass(frozen=True)
class Accumulated(Statistic):
    """Membrane of a neuron without leak after the last step."""

    name: ClassVar[str] = "accumulated"

    def step_weights(self, time_steps: int) -> tuple[list[float], float]:
        return [1.0] * time_steps, 1.0


@dataclass(frozen=True)
class _Membrane(Statistic):
    """
    A membrane that leaks and never fires.

    :param membrane_decay: share of the membrane kept per step, in (0, 1]
    """

    membrane_decay: float = 0.75

    def __post_init__(self) -> None:
        value = finite_float("decoder membrane_decay", self.membrane_decay)
        if not 0.0 < value <= 1.0:
            raise ValueError(f"decoder membrane_decay={self.membrane_decay!r} must lie in (0, 1]")


@dataclass(frozen=True)
class Last(_Membrane):
    """Membrane after the last step."""

    name: ClassVar[str] = "last"

    def step_weights(self, time_steps: int) -> tuple[list[float], float]:
        return [self.membrane_decay ** (time_steps - 1 - t) for t in range(time_steps)], 1.0


@dataclass(frozen=True)
class Mean(_Membrane):
    """Mean membrane over the steps."""

    name: ClassVar[str] = "mean"

    def step_weights(self, time_steps: int) -> tuple[list[float], float]:
        return [sum(self.membrane_decay**k for k in range(time_steps - t)) for t in range(time_steps)], float(
            time_steps
        )


@dataclass(frozen=True)
class Max(_Membrane):
    """Largest membrane over the steps; not linear, so each step has a product of its own."""

    name: ClassVar[str] = "max"

    def step_weights(self, time_steps: int) -> None:
        return None

    def reduce(self, currents: th.Tensor) -> th.Tensor:
        membrane = largest = currents[0]
        for current in currents[1:]:
            membrane = self.membrane_decay * membrane + current
            largest = th.maximum(largest, membrane)
        return largest


DECODERS: dict[str, type[Statistic]] = {cls.name: cls for cls in (Rate, Accumulated, Last, Mean, Max)}


class Decoder(nn.Module):
    """
    Linear map of spikes, and a statistic over the steps.

    :param in_features: number of neurons of the last population, or of all the output populations together
    :param out_dim: number of outputs
    :param population: number of neurons of each output's own population; None for a dense map of all the neurons
    :param statistic: statistic over the steps
    :raises ValueError: if a size is < 1
    """

    def __init__(
        self, in_features: int, out_dim: int, population: int | None = None, statistic: Statistic | None = None
    ) -> None:
        super().__init__()
        self.out_dim = positive_int("out_dim", out_dim)
        self.population = population
        self.statistic = statistic or Rate()
        inputs = positive_int("in_features", in_features) if population is None else population
        # Like any torch layer; PopSAN's grouped Conv1d has a fan-in of one population.
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(th.empty(out_dim, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(th.empty(out_dim).uniform_(-bound, bound))

    def forward(self, spikes: th.Tensor) -> th.Tensor:
        """
        Decode a batch of spike trains.

        :param spikes: spikes, ``[T, N, in_features]``
        :return: decoded values, ``[N, out_dim]``
        """
        linear = self.statistic.step_weights(len(spikes))
        if linear is None:
            return self.statistic.reduce(self._map(spikes) + self.bias)
        weights, divisor = linear
        if len(set(weights)) > 1:
            spikes = spikes * spikes.new_tensor(weights)[:, None, None]
        return self._map(spikes.sum(dim=0) / divisor) + self.bias * (sum(weights) / divisor)

    def synapses(self) -> Synapses:
        """Return the synapses of the linear map."""
        return Synapses(self._map_by, self.weight.detach())

    def _map(self, values: th.Tensor) -> th.Tensor:
        """Return the linear map without its bias, of ``[..., in_features]``."""
        return self._map_by(values, self.weight)

    def _map_by(self, values: th.Tensor, weight: th.Tensor) -> th.Tensor:
        if self.population is None:
            return F.linear(values, weight)
        return (values.reshape(*values.shape[:-1], self.out_dim, self.population) * weight).sum(dim=-1)
