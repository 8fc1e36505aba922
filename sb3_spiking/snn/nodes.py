"""Nodes that SpikingJelly lacks, on its base class."""

from typing import Any

import torch as th
from spikingjelly.activation_based import neuron as sj


class DynamicNode(sj.SimpleBaseNode):
    """
    Second-order node; the equations are those of [`Dynamic`][sb3_spiking.snn.neurons.Dynamic].

    Its memories are the current ``c``, the resistance item ``u`` and the membrane ``v``; all of them begin at 0.

    :param c_decay: share of the current kept per step
    :param theta_v: pull of the membrane on the resistance item
    :param theta_u: decay of the resistance item
    :param theta_r: membrane after a spike
    :param theta_s: what a spike adds to the resistance item
    :param kwargs: arguments of SpikingJelly's ``SimpleBaseNode``
    """

    c: Any
    u: Any
    v: Any

    def __init__(
        self, c_decay: float, theta_v: float, theta_u: float, theta_r: float, theta_s: float, **kwargs: Any
    ) -> None:
        super().__init__(v_reset=theta_r, **kwargs)
        self.c_decay, self.theta_v, self.theta_u, self.theta_s = c_decay, theta_v, theta_u, theta_s
        self.register_memory("c", 0.0)
        self.register_memory("u", 0.0)

    def neuronal_charge(self, x: th.Tensor) -> None:
        self.c = self.c * self.c_decay + x
        self.v = self.v * self.v - self.u + self.c
        self.u = self.u + (self.v * self.theta_v - self.u * self.theta_u)

    def neuronal_reset(self, spike: th.Tensor) -> None:
        super().neuronal_reset(spike)
        self.u = self.u + (spike.detach() if self.detach_reset else spike) * self.theta_s
