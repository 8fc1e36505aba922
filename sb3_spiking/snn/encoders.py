"""
Population encoders: an observation becomes the activity of Gaussian receptive fields, then spikes.

Source: PopSAN (Tang et al., CoRL 2020). Each observation dimension has a population of neurons, whose means are spread
over its range; means and widths are trained with the rest of the actor::

    A = exp(-1/2 ((observation - mean) / std)^2)              in (0, 1]

    deterministic:  v += A;  s = v >= 0.999;  v -= 0.999 s    regular spikes, about A per step, from v = 0
    rounded:        the same from v = 0.999 / 2               their number is T A / 0.999, rounded, not cut off
    poisson:        s ~ Bernoulli(A)                          drawn anew at each step
    analog:         A itself, as a constant current           (MDC-SAN; Zhang et al., AAAI 2022)

The gradient of every spike with respect to A is 1 (straight-through). Without populations, the observation itself is
a constant current (direct).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch as th
from torch import nn

from sb3_spiking.arguments import finite_float, option, plain, positive_float, positive_int
from sb3_spiking.snn.execution.backends import unsupported
from sb3_spiking.snn.execution.populations import regular_spikes
from sb3_spiking.snn.observers import operations_are_traced
from sb3_spiking.snn.receptive_fields import receptive_fields
from sb3_spiking.snn.signal import Signal

FIRING_THRESHOLD = 0.999
MIN_STD = 1e-2
"""Widths are kept at or above this, in units of the (normalised) observation."""

Range = tuple[float, float] | Sequence[Sequence[float]]
"""``(low, high)`` for all the dimensions, or one such pair for each."""


class Encoder(nn.Module, ABC):
    """An input stage for vectors: the base of all encoders."""

    features: int
    """Number of features that the first spiking layer receives."""

    name: str = "encoder"
    """Name of the population in recordings, where there is one."""

    exponentials: int = 0
    """Number of exponentials that one decision evaluates; more than 0 for populations of receptive fields."""

    @abstractmethod
    def forward(self, observations: th.Tensor) -> Signal:
        """
        Encode a batch of observations.

        :param observations: ``[N, obs_dim]``, finite
        :return: input of the first spiking layer, ``[T, N, features]``
        :raises ValueError: if an observation is NaN or infinite
        """


class PopulationEncoder(Encoder):
    """
    Gaussian receptive fields; subclasses define how activity becomes the input of the spiking layers.

    :param obs_dim: number of observation dimensions
    :param population: neurons per dimension, >= 1
    :param time_steps: steps per decision ``T``, >= 1
    :param mean_range: first and last mean of a population at initialisation, ``(low, high)`` or one pair per dimension
    :param std: width of the receptive fields at initialisation, > 0, one number or one per dimension;
        ``sqrt(0.15)`` is PopSAN's
    :param name: name of the population in recordings
    :raises ValueError: if a size is < 1, a range is empty or not finite, or a width is not > 0
    """

    def __init__(
        self,
        obs_dim: int,
        population: int = 10,
        time_steps: int = 5,
        mean_range: Range = (-3.0, 3.0),
        std: float | Sequence[float] = math.sqrt(0.15),
        name: str = "encoder",
    ) -> None:
        super().__init__()
        self.name = name
        self.obs_dim = positive_int("obs_dim", obs_dim)
        self.population = positive_int("encoder_population", population)
        self.time_steps = positive_int("time_steps", time_steps)
        low, high = mean_ranges(mean_range, obs_dim).unbind(dim=1)
        place = th.linspace(0.0, 1.0, population) if population > 1 else th.tensor([0.5])
        self.features = self.exponentials = self.obs_dim * self.population
        self.mean = nn.Parameter(low[:, None] + (high - low)[:, None] * place)
        self.std = nn.Parameter(_widths(std, obs_dim)[:, None].repeat(1, population))

    def widths(self) -> th.Tensor:
        """Return the widths in use, ``[obs_dim, population]``, all > 0."""
        return self.std.clamp(min=MIN_STD)

    def activity(self, observations: th.Tensor) -> th.Tensor:
        """
        Return the activity of the receptive fields.

        :param observations: ``[N, obs_dim]``
        :return: activity in [0, 1], ``[N, obs_dim * population]``
        :raises ValueError: if an observation is NaN or infinite
        """
        _check_finite(observations)
        return receptive_fields(observations, self.mean, self.widths()).flatten(start_dim=1)

    def forward(self, observations: th.Tensor) -> Signal:
        """
        Encode a batch of observations.

        :param observations: ``[N, obs_dim]``, finite
        :return: input of the first spiking layer, ``[T, N, obs_dim * population]``
        :raises ValueError: if an observation is NaN or infinite
        """
        return self.encode(self.activity(observations))

    @abstractmethod
    def encode(self, activity: th.Tensor) -> Signal:
        """
        Encode the activity of the receptive fields.

        :param activity: ``[N, features]``
        :return: input of the first spiking layer, ``[T, N, features]``
        """


class DeterministicEncoder(PopulationEncoder):
    """
    Regular spikes from soft-reset integrators with a threshold of 0.999.

    Their number is the activity times the steps, cut off: with one step only an activity of 0.999 fires.
    """

    initial: ClassVar[float] = 0.0
    """Membrane before the first step."""

    def encode(self, activity: th.Tensor) -> Signal:
        spikes = _regular_spikes(activity.detach(), self.time_steps, type(self).initial)
        return Signal(spikes, self.time_steps, activity)


class RoundedEncoder(DeterministicEncoder):
    """
    Regular spikes whose number is the activity times the steps, rounded: the integrators start at half their threshold.

    For few steps. Source of the start: Bu et al., Optimized Potential Initialization, AAAI 2022.
    """

    initial = FIRING_THRESHOLD / 2


class PoissonEncoder(PopulationEncoder):
    """Random spikes, one Bernoulli draw per neuron and step; the same observation gives different spikes each time."""

    def encode(self, activity: th.Tensor) -> Signal:
        spikes = th.bernoulli(activity.detach().expand(self.time_steps, *activity.shape))
        return Signal(spikes, self.time_steps, activity)


class AnalogEncoder(PopulationEncoder):
    """No encoder spikes: the activity is a constant input current."""

    def encode(self, activity: th.Tensor) -> Signal:
        return Signal(activity[None], self.time_steps)


class DirectEncoder(Encoder):
    """
    Direct currents: each observation is a constant current, the same at each step.

    :param obs_dim: number of observation dimensions
    :param time_steps: steps per decision ``T``, >= 1
    """

    def __init__(self, obs_dim: int, time_steps: int = 5) -> None:
        super().__init__()
        self.features = positive_int("obs_dim", obs_dim)
        self.time_steps = positive_int("time_steps", time_steps)

    def forward(self, observations: th.Tensor) -> Signal:
        """
        Repeat a batch of observations.

        :param observations: ``[N, obs_dim]``, finite
        :return: input of the first spiking layer, ``[T, N, obs_dim]``
        :raises ValueError: if an observation is NaN or infinite
        """
        _check_finite(observations)
        return Signal(observations[None], self.time_steps)


ENCODERS: dict[str, type[Encoder]] = {
    "deterministic": DeterministicEncoder,
    "rounded": RoundedEncoder,
    "poisson": PoissonEncoder,
    "analog": AnalogEncoder,
    "direct": DirectEncoder,
}


def make_encoder(
    encoder: str,
    name: str,
    obs_dim: int,
    time_steps: int,
    population: int,
    mean_range: Range,
    std: float | Sequence[float],
) -> Encoder:
    """
    Make an encoder.

    :param encoder: a key of ``ENCODERS``, or ``"package.module:Name"``
    :param name: name of its population in recordings
    :param obs_dim: number of observation dimensions
    :param time_steps: steps per decision ``T``
    :param population: neurons per dimension
    :param mean_range: range of the means at initialisation
    :param std: width of the receptive fields at initialisation
    :return: the encoder
    :raises ValueError: if an argument is not allowed
    """
    cls = option("encoder", encoder, ENCODERS, Encoder)
    if issubclass(cls, PopulationEncoder):
        return cls(obs_dim, population, time_steps, mean_range, std, name)
    made = cls(obs_dim, time_steps)
    made.name = name
    return made


def _regular_spikes(activity: th.Tensor, time_steps: int, initial: float = 0.0) -> th.Tensor:
    if unsupported(activity) is None:
        return regular_spikes(activity, time_steps, FIRING_THRESHOLD, initial)
    spikes = []
    v = activity * 0.0 + initial  # zeros_like would become a constant of an ONNX model, for one batch size
    for _ in range(time_steps):
        v = v + activity
        spikes.append((v >= FIRING_THRESHOLD).to(v))
        v = v - FIRING_THRESHOLD * spikes[-1]
    return th.stack(spikes)


def _check_finite(observations: th.Tensor) -> None:
    if operations_are_traced():  # there are no numbers yet
        return
    # One cheap reduction for the normal case; a sum may also overflow, so look again.
    if math.isfinite(observations.sum().item()):
        return
    finite = th.isfinite(observations).all(dim=0)
    if not finite.all():
        dimensions = (~finite).nonzero().flatten().tolist()
        raise ValueError(f"observations hold NaN or infinity in dimension {', '.join(map(str, dimensions))}")


def mean_ranges(mean_range: Range, obs_dim: int) -> th.Tensor:
    """
    Check the ranges of the means.

    :param mean_range: ``(low, high)``, or one such pair per dimension
    :param obs_dim: number of observation dimensions
    :return: low and high of each dimension, ``[obs_dim, 2]``
    :raises ValueError: if the shape is wrong, an end is not finite, or low >= high
    """
    mean_range = plain(mean_range)
    pairs = list(mean_range) if isinstance(mean_range, list | tuple) else None
    if pairs is not None and len(pairs) == 2 and not any(isinstance(end, list | tuple) for end in pairs):
        pairs = [pairs] * obs_dim
    if pairs is None or len(pairs) != obs_dim or any(not isinstance(p, list | tuple) or len(p) != 2 for p in pairs):
        raise ValueError(
            f"mean_range={mean_range!r} must be (low, high), or one such pair for each of the {obs_dim} dimensions"
        )
    ranges = [[finite_float("mean_range", end) for end in pair] for pair in pairs]
    if any(low >= high for low, high in ranges):
        raise ValueError(f"mean_range={mean_range!r} must have low < high")
    return th.tensor(ranges)


def _widths(std: float | Sequence[float], obs_dim: int) -> th.Tensor:
    """Return the widths as ``[obs_dim]``."""
    std = plain(std)
    widths = list(std) if isinstance(std, list | tuple) else [std] * obs_dim
    if len(widths) != obs_dim:
        raise ValueError(f"encoder_std={std!r} must be one number, or one for each of the {obs_dim} dimensions")
    return th.tensor([positive_float("encoder_std", width) for width in widths])
