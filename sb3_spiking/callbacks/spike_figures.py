"""Callback that draws spikes and receptive fields for TensorBoard."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, TensorBoardOutputFormat

from sb3_spiking.arguments import positive_int
from sb3_spiking.callbacks.training import observations_met, spiking_policy
from sb3_spiking.observations import each_entry
from sb3_spiking.plotting import plot_firing_rates, plot_receptive_fields, plot_spike_raster
from sb3_spiking.randomness import randomness_untouched
from sb3_spiking.snn import PopulationEncoder


class SpikeFigureCallback(BaseCallback):
    """
    Draw spikes and receptive fields for TensorBoard during training.

    - ``spikes/raster``: every spike of one decision, on the same observation each time
    - ``spikes/firing_rates``: firing rates of each population, on observations that the agent has met
    - ``spikes/<encoder>_fields``: receptive fields of a population encoder, now and at the start of the training

    Nothing is drawn without TensorBoard (``tensorboard_log`` of the algorithm). SB3 writes the latest figures with its
    next dump (``log_interval`` of ``learn``).

    :param draw_freq: environment steps (of all environments in parallel) between two drawings, >= 1
    :param verbose: not used
    :raises ValueError: if ``draw_freq`` is < 1, or, when training starts, if the policy does not spike
    """

    def __init__(self, draw_freq: int = 10_000, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.draw_freq = positive_int("draw_freq", draw_freq)
        self._observation: Any = None

    def _on_training_start(self) -> None:
        modules = spiking_policy(self).spiking_network.modules()
        self._before = {part.name: copy.deepcopy(part) for part in modules if isinstance(part, PopulationEncoder)}

    def _on_step(self) -> bool:
        if self.n_calls % self.draw_freq == 0 and self._reaches_tensorboard():
            with randomness_untouched():
                self._draw()
        return True

    def _reaches_tensorboard(self) -> bool:
        return any(isinstance(output, TensorBoardOutputFormat) for output in self.logger.output_formats)

    def _draw(self) -> None:
        policy = spiking_policy(self)
        network = policy.spiking_network
        met = observations_met(self)
        if self._observation is None:
            self._observation = each_entry(met, lambda tensor: tensor[:1].clone())
        decision = network.record(policy.spiking_features(self._observation))
        self._log("raster", partial(plot_spike_raster, decision))
        self._log("firing_rates", partial(plot_firing_rates, network.record(policy.spiking_features(met))))
        for part in network.modules():
            if isinstance(part, PopulationEncoder):
                self._log(f"{part.name}_fields", partial(plot_receptive_fields, part, before=self._before[part.name]))

    def _log(self, name: str, plot: Callable[..., Any]) -> None:
        from matplotlib import figure

        # Without pyplot, which would keep figures that no dump closes.
        drawn = figure.Figure(figsize=(7.0, 5.0), layout="constrained")
        plot(ax=drawn.add_subplot())
        self.logger.record(f"spikes/{name}", Figure(drawn, close=True), exclude=("stdout", "log", "json", "csv"))
