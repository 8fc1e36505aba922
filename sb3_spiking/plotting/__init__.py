"""Pictures of spiking agents; matplotlib is imported on use."""

from sb3_spiking.plotting.activity import plot_firing_rates, plot_membranes, plot_spike_raster
from sb3_spiking.plotting.conversion import plot_paired_returns, plot_sweep
from sb3_spiking.plotting.encoders import plot_encoding, plot_receptive_fields
from sb3_spiking.plotting.history import plot_spike_history
from sb3_spiking.plotting.learning import plot_interquartile_means, plot_learning_curve

__all__ = [
    "plot_encoding",
    "plot_firing_rates",
    "plot_interquartile_means",
    "plot_learning_curve",
    "plot_membranes",
    "plot_paired_returns",
    "plot_receptive_fields",
    "plot_spike_history",
    "plot_spike_raster",
    "plot_sweep",
]
