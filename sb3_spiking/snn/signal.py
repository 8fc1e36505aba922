"""Signals between the stages of a network: values over the time steps, and the path of their gradient."""

from collections.abc import Sequence
from typing import NamedTuple

import torch as th

from sb3_spiking.snn.straight_through import straight_through


class Signal(NamedTuple):
    """
    An input of a spiking layer.

    :ivar values: spikes or currents, ``[T, N, ...]``, or ``[1, N, ...]`` where they are the same at each step
    :ivar time_steps: number of steps ``T``
    :ivar activity: activity that the spikes encode, ``[N, ...]``; it receives their gradients, summed over the steps
        (straight-through). None for signals that no encoder made
    """

    values: th.Tensor
    time_steps: int
    activity: th.Tensor | None = None

    @classmethod
    def of(cls, inputs: "Signal | th.Tensor") -> "Signal":
        """
        Return a signal.

        :param inputs: a signal, or spikes ``[T, N, ...]``
        :return: the signal
        """
        return inputs if isinstance(inputs, Signal) else cls(inputs, len(inputs))

    @property
    def is_constant(self) -> bool:
        """Whether one step stands for all of them: then synapses multiply once."""
        return len(self.values) == 1 < self.time_steps

    def once(self) -> th.Tensor:
        """Return the values with their gradient, ``[1, N, ...]`` where they are constant."""
        return self.values if self.activity is None else straight_through(self.activity, self.values)

    def tensor(self) -> th.Tensor:
        """Return all the steps with their gradient, ``[T, N, ...]``."""
        values = self.once()
        return values.expand(self.time_steps, *values.shape[1:]) if self.is_constant else values


def side_by_side(signals: Sequence[Signal]) -> Signal:
    """
    Concatenate signals along their features; constant signals give a constant signal.

    :param signals: signals of the same steps, ``[T, N, features]``
    :return: one signal, ``[T, N, sum of the features]``
    """
    if len(signals) == 1:
        return signals[0]
    if all(signal.is_constant for signal in signals):
        return Signal(th.cat([signal.once() for signal in signals], dim=-1), signals[0].time_steps)
    return Signal.of(th.cat([signal.tensor() for signal in signals], dim=-1))
