"""
Population rate decoder: the spikes of an output population become a number.

Source: PopSAN (Tang et al., CoRL 2020). Each output dimension has a population of its own and a small
linear map of its own::

    rate = sum_t s_t / T                      in [0, 1]
    output_i = weight_i . rate_i + bias_i
"""

import math

import torch as th
from torch import nn

from sb3_spiking.snn.arguments import positive_int


class PopulationDecoder(nn.Module):
    """
    Linear maps of the firing rates, one per output dimension.

    :param out_dim: number of outputs
    :param population: neurons per output, >= 1
    :raises ValueError: if a size is < 1
    """

    def __init__(self, out_dim: int, population: int = 10) -> None:
        super().__init__()
        self.out_dim = positive_int("out_dim", out_dim)
        self.population = positive_int("decoder_population", population)
        # PopSAN's grouped Conv1d starts like any torch layer with a fan-in of one population.
        bound = 1.0 / math.sqrt(population)
        self.weight = nn.Parameter(th.empty(out_dim, population).uniform_(-bound, bound))
        self.bias = nn.Parameter(th.empty(out_dim).uniform_(-bound, bound))

    @property
    def features(self) -> int:
        """Number of neurons that are read, ``out_dim * population``."""
        return self.out_dim * self.population

    def forward(self, spikes: th.Tensor) -> th.Tensor:
        """
        Decode a batch of spike trains.

        :param spikes: ``[T, N, out_dim * population]``
        :return: ``[N, out_dim]``
        """
        rates = spikes.mean(dim=0).unflatten(-1, (self.out_dim, self.population))
        return (rates * self.weight).sum(dim=-1) + self.bias
