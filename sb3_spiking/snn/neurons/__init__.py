"""
Spiking neurons by name, each in a file of its own.

Every neuron charges, fires and resets once per step, from a state of zero::

    h_t = charge(v_{t-1}, x_t)                    pre-spike membrane
    s_t = 1 if h_t >= threshold else 0
    v_t = h_t (1 - s_t)                           reset "hard"
    v_t = h_t - threshold s_t                     reset "soft"

The neurons build SpikingJelly nodes (its own, or subclasses of its base class), so that its monitors, counters and
exporters apply. Fused kernels run the same equations in one pass, with the same spikes.
"""

from sb3_spiking.snn.neurons.adaptive_lif import AdaptiveLif
from sb3_spiking.snn.neurons.base import NEURON_OF_NODE, RESETS, Neuron, ResetName, ResettingNeuron
from sb3_spiking.snn.neurons.cuba_lif import CubaLif
from sb3_spiking.snn.neurons.dynamic import Dynamic
from sb3_spiking.snn.neurons.integrate_and_fire import IntegrateAndFire
from sb3_spiking.snn.neurons.lif import Lif
from sb3_spiking.snn.neurons.parametric_lif import ParametricLif

NEURONS: dict[str, type[Neuron]] = {
    cls.name: cls for cls in (CubaLif, Lif, ParametricLif, IntegrateAndFire, Dynamic, AdaptiveLif)
}

__all__ = [
    "NEURONS",
    "NEURON_OF_NODE",
    "RESETS",
    "AdaptiveLif",
    "CubaLif",
    "Dynamic",
    "IntegrateAndFire",
    "Lif",
    "Neuron",
    "ParametricLif",
    "ResetName",
    "ResettingNeuron",
]
