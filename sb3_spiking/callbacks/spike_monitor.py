"""Callback that logs spiking health: firing rates, silent and saturated neurons, membranes near the threshold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from sb3_spiking.arguments import positive_int
from sb3_spiking.callbacks.training import observations_met, spiking_policy
from sb3_spiking.notices import warn
from sb3_spiking.randomness import randomness_untouched
from sb3_spiking.snn import PopulationRecord

ENOUGH_DECISIONS = 128
"""Smallest number of decisions for a diagnosis: in a few decisions most neurons may well be silent."""


@dataclass(frozen=True)
class LayerHealth:
    """
    Spiking health of a population of neurons.

    :param rate: spikes per neuron and step, in [0, 1]
    :param silent: share of the neurons that never fire
    :param saturated: share of the neurons that fire at every step
    :param window: share of the membranes inside the surrogate's window, through which alone the gradient passes; None
        for the encoder, whose gradient is straight-through
    """

    rate: float
    silent: float
    saturated: float
    window: float | None

    def __str__(self) -> str:
        return f"{self.rate:.2f}" if self.window is None else f"{self.rate:.2f} (window {self.window:.2f})"

    def diagnosis(self) -> str | None:
        """Return the problem in plain words; None if the population is healthy."""
        if self.silent > 0.95:
            return (
                "is dead: almost no neuron fires. Larger inputs (mean_range, encoder_std), more time_steps or a lower "
                "threshold help"
            )
        if self.saturated > 0.95:
            return "is saturated: almost every neuron fires at every step. Smaller weights or a higher threshold help"
        if self.window is not None and self.window < 0.01:
            return (
                "cannot learn: its membranes lie outside the surrogate's window. A wider surrogate "
                "(surrogate_kwargs) or a lower actor_lr_scale helps"
            )
        return None


def layer_health(record: PopulationRecord) -> LayerHealth:
    """
    Measure the health of a population over a batch of decisions.

    :param record: record of the population; neurons count as silent or saturated over the whole batch
    :return: health of the population
    """
    spikes = record.spikes
    per_neuron = spikes.mean(dim=(0, 1))
    window = None
    if record.margin is not None:
        window = (record.margin.abs() < record.surrogate_window).float().mean().item()
    return LayerHealth(
        rate=spikes.mean().item(),
        silent=(per_neuron == 0).float().mean().item(),
        saturated=(per_neuron == 1).float().mean().item(),
        window=window,
    )


class SpikeMonitorCallback(BaseCallback):
    """
    Log the spiking health of the policy, and warn once about each population that is dead or saturated.

    The warnings rest on at least 128 decisions, those of several measurements where one has fewer.

    Every ``log_freq`` calls the network decides on observations that the agent has met (of the replay buffer or of the
    rollout; the environments' last ones while these are empty). The model's logger records each population's
    ``LayerHealth`` as ``spikes/<population>_rate``, ``_silent``, ``_saturated`` and ``_window``. The logger writes to
    the console (``verbose=1`` of the algorithm), to TensorBoard (``tensorboard_log``) or to files (``set_logger``); by
    default nowhere. A measurement costs one batch of decisions; between two of them there are no hooks in the network,
    and the run is the same as without the monitor.

    :param log_freq: environment steps (of all environments in parallel) between two measurements, >= 1
    :param verbose: 0 or 1; 1 prints each measurement as one line
    :raises ValueError: if ``log_freq`` is < 1, or, when training starts, if the policy does not spike
    """

    def __init__(self, log_freq: int = 1000, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.log_freq = positive_int("log_freq", log_freq)
        self._warned: set[str] = set()
        self._undiagnosed: dict[str, list[PopulationRecord]] = {}

    def _on_training_start(self) -> None:
        spiking_policy(self)
        self._undiagnosed.clear()

    def _on_step(self) -> bool:
        if self.n_calls % self.log_freq == 0:
            with randomness_untouched():
                self._measure()
        return True

    def _measure(self) -> None:
        policy = spiking_policy(self)
        recording = policy.spiking_network.record(policy.spiking_features(observations_met(self)))
        healths = {record.name: layer_health(record) for record in recording.populations}
        if self.verbose:
            print(f"step {self.num_timesteps}  {'  '.join(f'{name} {health}' for name, health in healths.items())}")
        for record in recording.populations:
            health = healths[record.name]
            for quantity, value in asdict(health).items():
                if value is not None:
                    self.logger.record(f"spikes/{record.name}_{quantity}", value)
            # Receptive fields that no observation reaches are silent by design.
            if not record.is_encoder and record.name not in self._warned:
                self._diagnose(record)

    def _diagnose(self, record: PopulationRecord) -> None:
        """Warn of an unhealthy population, as soon as this and earlier measurements have enough decisions."""
        seen = self._undiagnosed.setdefault(record.name, [])
        seen.append(record)
        if sum(each.spikes.shape[1] for each in seen) < ENOUGH_DECISIONS:
            return
        diagnosis = layer_health(_joined(seen)).diagnosis()
        seen.clear()
        if diagnosis is not None:
            self._warned.add(record.name)
            warn(f"The {record.name} population {diagnosis} (step {self.num_timesteps}).")


def _joined(records: Sequence[PopulationRecord]) -> PopulationRecord:
    """Join several measurements of a population."""
    margins = [record.margin for record in records if record.margin is not None]
    return replace(
        records[-1],
        spikes=th.cat([record.spikes for record in records], dim=1),
        margin=th.cat(margins, dim=1) if margins else None,
    )
