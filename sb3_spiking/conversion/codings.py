"""
Codings: representations of the activations of a ReLU network by spikes.

All thresholds are 1: a conversion folds the thresholds into the weights, so that spikes are ones. A layer of neurons
integrates its *drive* (input currents) and fires; synapses turn these spikes into the drive of the next layer.
Activations above the threshold saturate.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch as th
from spikingjelly.activation_based.base import MemoryModule

from sb3_spiking.arguments import choice, finite_float, positive_int, probability
from sb3_spiking.errors import Argument, InputError
from sb3_spiking.snn.execution.backends import unsupported
from sb3_spiking.snn.execution.choose import Execution, Way, choose_neurons
from sb3_spiking.snn.execution.populations import run_neurons
from sb3_spiking.snn.neurons import RESETS, IntegrateAndFire
from sb3_spiking.snn.neurons import ResetName as Reset
from sb3_spiking.snn.surrogates import Rect


class Integration(NamedTuple):
    """
    What the neurons of a coding do, in numbers for a kernel.

    :ivar at_each_step: whether neurons integrate a drive at each step, or one number whose digits they fire
    :ivar values: value of a spike of each step, ``T`` numbers
    :ivar thresholds: thresholds of the digits, ``T`` numbers; not used at each step
    :ivar initial: initial membrane
    :ivar hard: whether a spike sets the membrane to 0
    :ivar signed: whether spikes may be -1
    """

    at_each_step: bool
    values: list[float]
    thresholds: list[float]
    initial: float
    hard: bool
    signed: bool


MAX_TIME_STEPS = 2**16
"""Limit of the time steps: a rate of so many steps is as fine as float32."""

Synapses = Callable[[th.Tensor], th.Tensor]
"""Linear map with bias, from ``[N, ...]`` to ``[N, ...]``."""


@dataclass(frozen=True)
class Coding(ABC):
    """
    Representation of activations in [0, 1] by spikes.

    :param time_steps: number of time steps ``T`` in which a neuron can spike, from 1 to ``MAX_TIME_STEPS``
    """

    time_steps: int = 64
    name: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_steps", positive_int("time_steps", self.time_steps))  # a Python int, for JSON
        if self.time_steps > MAX_TIME_STEPS:
            raise InputError(Argument("time_steps", self.time_steps), f" must be at most {MAX_TIME_STEPS}")

    @property
    def rest(self) -> float:
        """Initial membrane at the start of an episode."""
        return 0.0

    @abstractmethod
    def constant_drive(self, current: th.Tensor) -> th.Tensor:
        """
        Return the drive of the first layer, whose inputs are numbers and no spikes.

        :param current: constant input current, ``[N, ...]``
        :return: drive, in the form that ``drive`` returns
        """

    @abstractmethod
    def fire(self, drive: th.Tensor, initial: th.Tensor | None = None) -> th.Tensor:
        """
        Run a layer of neurons.

        :param drive: drive of the layer
        :param initial: initial membranes, ``[N, ...]``; those at rest if None
        :return: spikes, 0 or 1 (or -1, in codings with signs), ``[T, N, ...]``
        """

    def choose(self, drive: th.Tensor) -> Execution:
        """
        Choose how a layer of neurons runs.

        :param drive: drive, or the tensor that it is computed from
        :return: the choice
        """
        problem = "there are no kernels for GPUs" if drive.device.type != "cpu" else unsupported(drive)
        return Execution(Way.NEURONS, "") if problem is None else Execution(Way.OPERATIONS, problem)

    @abstractmethod
    def drive(self, synapses: Synapses, spikes: th.Tensor) -> th.Tensor:
        """
        Return the drive of the next layer.

        :param synapses: linear map between the layers
        :param spikes: ``[T, N, ...]``
        :return: drive of the next layer
        """

    @abstractmethod
    def decode(self, spikes: th.Tensor) -> th.Tensor:
        """
        Return the activations that spikes represent.

        :param spikes: ``[T, N, ...]``
        :return: activations, ``[N, ...]``
        """

    @abstractmethod
    def readout(self, drive: th.Tensor) -> th.Tensor:
        """
        Return the outputs of accumulating neurons: Tan's robust rate, of spikes and remaining membrane.

        :param drive: drive of the output layer
        :return: ``[N, actions]``
        """

    def residue(self, drive: th.Tensor, spikes: th.Tensor) -> th.Tensor | None:
        """
        Return the initial membranes of the next decision, ``[N, ...]``; None if every decision begins at rest.

        :param drive: drive of the layer
        :param spikes: spikes of the layer, ``[T, N, ...]``
        """
        return None

    def integration(self) -> Integration | None:
        """Return what the neurons do from rest, for a kernel of whole networks; None if it does not know them."""
        return None

    @abstractmethod
    def latency(self, hidden_layers: int) -> int:
        """
        Return the number of time steps from an observation to its decision.

        :param hidden_layers: number of spiking layers
        """


@dataclass(frozen=True)
class Rate(Coding):
    """
    Rate coding: the mean firing rate of an integrate-and-fire neuron is the activation::

        v_t = v_{t-1} + x_t - s_t,    s_t = 1 if v_{t-1} + x_t >= 1

    The neurons are SpikingJelly's ``IFNode``. All the layers advance within the same step.

    :param time_steps: number of time steps ``T`` of a decision
    :param reset: ``"soft"`` subtracts the threshold, ``"hard"`` sets the membrane to 0
    :param initial: initial membrane, as a share of the threshold; 0.5 rounds to the nearest rate instead of down (Deng
        and Gu, 2021)
    :param settling: number of first time steps that the readout ignores
    """

    reset: Reset = "soft"
    initial: float = 0.5
    settling: int = 0
    name: ClassVar[str] = "rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("reset", self.reset, RESETS)
        if not 0.0 <= finite_float("initial", self.initial) < 1.0:
            raise InputError(Argument("initial", self.initial), " must lie in [0, 1): it is a share of the threshold")
        if not isinstance(self.settling, int) or self.settling not in range(self.time_steps):
            limit = Argument("time_steps", self.time_steps)
            raise InputError(Argument("settling", self.settling), " must be an integer in [0, ", limit, ")")

    @property
    def rest(self) -> float:
        return self.initial

    def choose(self, drive: th.Tensor) -> Execution:
        return choose_neurons(_integrate_and_fire(self.reset), drive)

    def constant_drive(self, current: th.Tensor) -> th.Tensor:
        return current.expand(self.time_steps, *current.shape)

    def fire(self, drive: th.Tensor, initial: th.Tensor | None = None) -> th.Tensor:
        first = drive[:1] + (self.rest if initial is None else initial)
        return run_neurons(_integrate_and_fire(self.reset), th.cat([first, drive[1:]]))

    def drive(self, synapses: Synapses, spikes: th.Tensor) -> th.Tensor:
        drive = synapses(spikes.flatten(0, 1))
        return drive.reshape(len(spikes), -1, *drive.shape[1:])

    def integration(self) -> Integration | None:
        if type(self) not in (Rate, Signed):
            return None
        share = 1.0 / (self.time_steps - self.settling)
        values = [0.0] * self.settling + [share] * (self.time_steps - self.settling)
        return Integration(True, values, [1.0], self.rest, self.reset == "hard", type(self) is Signed)

    def decode(self, spikes: th.Tensor) -> th.Tensor:
        return spikes[self.settling :].mean(0)

    def readout(self, drive: th.Tensor) -> th.Tensor:
        return drive[self.settling :].mean(0)

    def latency(self, hidden_layers: int) -> int:
        return self.time_steps


@lru_cache
def _integrate_and_fire(reset: Reset) -> MemoryModule:
    """Return a cached node: its construction takes as long as a small decision, and it keeps no state."""
    return IntegrateAndFire(threshold=1.0, reset=reset).build(Rect())


def _check_soft(coding: Rate) -> None:
    if coding.reset != "soft":
        text = " has another reset than 'soft'"
        raise InputError(Argument("reset", coding.reset), ": only ", Argument("coding", "rate"), text)


@dataclass(frozen=True)
class Signed(Rate):
    """
    Rate coding with negative spikes: a neuron that has fired too early sends a spike of -1.

        s_t = 1 if v >= 1,   -1 if v < 0 and the sum of its spikes is > 0

    The rate then depends on the sum of the inputs and hardly on their order, unless a current exceeds the threshold
    (the signed neuron with memory of Wang et al., 2022).

    :param time_steps: number of time steps ``T`` of a decision
    :param reset: ``"soft"`` only
    :param initial: initial membrane, as a share of the threshold
    :param settling: number of first time steps that the readout ignores
    """

    name: ClassVar[str] = "signed"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_soft(self)

    def choose(self, drive: th.Tensor) -> Execution:
        return Coding.choose(self, drive)

    def fire(self, drive: th.Tensor, initial: th.Tensor | None = None) -> th.Tensor:
        membrane = th.full_like(drive[0], self.rest) if initial is None else initial
        if self.choose(drive).way is Way.NEURONS:
            from sb3_spiking.snn.execution import coding_kernels

            return coding_kernels.signed_rate(drive, membrane)
        sent = th.zeros_like(membrane)
        spikes = []
        for current in drive.unbind():
            membrane = membrane + current
            spike = (membrane >= 1.0).to(drive) - ((membrane < 0.0) & (sent > 0.0)).to(drive)
            membrane, sent = membrane - spike, sent + spike
            spikes.append(spike)
        return th.stack(spikes)


@dataclass(frozen=True)
class Residual(Rate):
    """
    Rate coding with residual membranes: remainders pass into the next decision (CRPI, Xu et al., 2026).

    Errors of consecutive decisions then compensate each other instead of repeating::

        r  = max(v_T - v_0, -sum_t s_t)
        v_0' = clip(alpha r, -1/2, 1/2) + 1/2                       1/2 at the start of an episode

    :param time_steps: number of time steps ``T`` of a decision
    :param reset: ``"soft"`` only
    :param initial: initial membrane at the start of an episode, as a share of the threshold
    :param settling: number of first time steps that the readout ignores
    :param alpha: share of the residual membrane that is kept, in [0, 1]
    """

    alpha: float = 0.5
    name: ClassVar[str] = "residual"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_soft(self)
        probability("alpha", self.alpha)

    def residue(self, drive: th.Tensor, spikes: th.Tensor) -> th.Tensor:
        sent = spikes.sum(0)
        left = th.maximum(drive.sum(0) - sent, -sent)  # With a soft reset, v_T - v_0 is the difference of the sums.
        return (self.alpha * left).clamp(-0.5, 0.5) + 0.5


@dataclass(frozen=True)
class FewSpike(Coding):
    """
    Binary digits: a spike of step ``k`` has the value ``2^-k``, so that ``T`` steps represent ``T`` bits.

    A neuron integrates all its inputs, adds half of the last digit to round to the nearest, and fires the digits of its
    membrane from the largest to the smallest (few-spike neurons, Stoeckl and Maass, 2021; weighted spikes, Kim et al.,
    2018)::

        s_k = 1 if v >= 2^-k,    v <- v - 2^-k s_k

    A receiver that doubles its membrane before each step needs no weighted spikes. A layer begins after the previous
    one has finished.

    :param time_steps: number of digits ``T``, at most the 23 of float32
    """

    time_steps: int = 16
    name: ClassVar[str] = "few-spike"
    radix: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        most = math.floor(23 / math.log2(self.radix))
        if self.time_steps > most:
            steps, coding = Argument("time_steps", self.time_steps), Argument("coding", self.name)
            raise InputError(steps, ": ", coding, f" takes at most {most}, float32 has no more digits")

    def digit_values(self) -> list[float]:
        """Return the value of a spike at each step; their sum is 1, or a last digit less."""
        return [(self.radix - 1) * self.radix ** -(step + 1.0) for step in range(self.time_steps)]

    def constant_drive(self, current: th.Tensor) -> th.Tensor:
        return current

    def fire(self, drive: th.Tensor, initial: th.Tensor | None = None) -> th.Tensor:
        values = self.digit_values()
        membrane = drive + values[-1] / 2
        if self.choose(drive).way is Way.NEURONS:
            from sb3_spiking.snn.execution import coding_kernels

            return coding_kernels.digits(membrane, values, values, signed=False)
        spikes = []
        for value in values:
            spikes.append((membrane >= value).to(drive))
            membrane = membrane.sub(spikes[-1], alpha=value)
        return th.stack(spikes)

    def integration(self) -> Integration | None:
        if type(self) not in (FewSpike, Ternary):
            return None
        values = self.digit_values()
        if type(self) is Ternary:
            return Integration(False, values, [value / 2 for value in values], 0.0, hard=False, signed=True)
        return Integration(False, values, values, values[-1] / 2, hard=False, signed=False)

    def drive(self, synapses: Synapses, spikes: th.Tensor) -> th.Tensor:
        return synapses(self.decode(spikes))  # The sum over the steps of a linear map is the map of the sum.

    def decode(self, spikes: th.Tensor) -> th.Tensor:
        return th.tensordot(spikes.new_tensor(self.digit_values()), spikes, dims=1)

    def readout(self, drive: th.Tensor) -> th.Tensor:
        return drive

    def latency(self, hidden_layers: int) -> int:
        return self.time_steps * hidden_layers


@dataclass(frozen=True)
class Ternary(FewSpike):
    """
    Balanced ternary digits: spikes of 1 and -1 at step ``k`` have the values ``2/3^k`` and ``-2/3^k``.

    ``T`` steps represent 1.58 ``T`` bits. Each digit rounds to the nearest, and later ones correct it in either
    direction::

        s_k = 1 if v >= 3^-k,   -1 if v < -3^-k and a spike was sent before,    v <- v - 2/3^k s_k

    A neuron with a negative input stays silent, as a ReLU does.

    :param time_steps: number of digits ``T``, at most the 14 of float32
    """

    time_steps: int = 10
    name: ClassVar[str] = "ternary"
    radix: ClassVar[int] = 3

    def fire(self, drive: th.Tensor, initial: th.Tensor | None = None) -> th.Tensor:
        values = self.digit_values()
        if self.choose(drive).way is Way.NEURONS:
            from sb3_spiking.snn.execution import coding_kernels

            return coding_kernels.digits(drive, values, [value / 2 for value in values], signed=True)
        membrane, sent = drive, th.zeros_like(drive, dtype=th.bool)
        spikes = []
        for value in values:
            spike = (membrane >= value / 2).to(drive) - ((membrane < -value / 2) & sent).to(drive)
            membrane, sent = membrane.sub(spike, alpha=value), sent | (spike > 0)
            spikes.append(spike)
        return th.stack(spikes)


CODINGS: dict[str, type[Coding]] = {cls.name: cls for cls in (Rate, Signed, Residual, FewSpike, Ternary)}
