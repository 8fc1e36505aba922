"""Callbacks for training spiking agents."""

from sb3_spiking.callbacks.finite_gradients import FiniteGradientsCallback
from sb3_spiking.callbacks.spike_figures import SpikeFigureCallback
from sb3_spiking.callbacks.spike_monitor import LayerHealth, SpikeMonitorCallback, layer_health
from sb3_spiking.callbacks.surrogate_schedule import SurrogateScheduleCallback
from sb3_spiking.callbacks.training_energy import TrainingEnergyCallback

__all__ = [
    "FiniteGradientsCallback",
    "LayerHealth",
    "SpikeFigureCallback",
    "SpikeMonitorCallback",
    "SurrogateScheduleCallback",
    "TrainingEnergyCallback",
    "layer_health",
]
