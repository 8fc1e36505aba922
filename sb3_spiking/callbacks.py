"""Callbacks for training spiking agents."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, TypeGuard

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure, TensorBoardOutputFormat
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.her import HerReplayBuffer

from sb3_spiking.plotting import plot_firing_rates, plot_receptive_fields, plot_spike_raster
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.snn import PopulationEncoder, PopulationRecord, SpikingLayer
from sb3_spiking.snn.arguments import positive_float
from sb3_spiking.snn.notices import warn
from sb3_spiking.snn.surrogates import Surrogate

MAX_DECISIONS = 256
ENOUGH_DECISIONS = 128
"""From how many decisions the monitor diagnoses a population: in a few decisions most neurons may well be silent."""


@dataclass(frozen=True)
class LayerHealth:
    """
    How well a population of neurons works.

    :param rate: spikes per neuron and step, in [0, 1]
    :param silent: share of the neurons that never fire
    :param saturated: share of the neurons that fire at every step
    :param window: share of the membranes inside the surrogate's window; the gradient passes through these alone.
        None for the encoder, whose gradient is straight-through
    """

    rate: float
    silent: float
    saturated: float
    window: float | None

    def __str__(self) -> str:
        return f"{self.rate:.2f}" if self.window is None else f"{self.rate:.2f} (window {self.window:.2f})"

    def diagnosis(self) -> str | None:
        """Say in plain words what is wrong, or None."""
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
    Measure a population over a batch of decisions.

    :param record: what the population did; a neuron counts as silent or saturated over all of the batch
    :return: its health
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

    Every ``log_freq`` calls the network decides on observations it has met (of the replay buffer or of the rollout; the
    environments' last ones while these are empty) and each population's ``LayerHealth`` is recorded by
    the model's logger as ``spikes/<population>_rate``, ``_silent``, ``_saturated`` and ``_window``. The logger writes
    where the algorithm was told to: to the console (``verbose=1`` of the algorithm), to TensorBoard
    (``tensorboard_log``), to files (``set_logger``); by default nowhere. Between two measurements nothing is hooked
    into the network, so the monitor costs one batch of decisions per ``log_freq`` steps, and a watched run is the run
    that it would have been unwatched.

    :param log_freq: environment steps (of all environments in parallel) between two measurements, >= 1
    :param verbose: 0 or 1; 1 prints each measurement as one line
    :raises ValueError: if ``log_freq`` is < 1, or, when training starts, if the policy does not spike
    """

    def __init__(self, log_freq: int = 1000, verbose: int = 0) -> None:
        super().__init__(verbose)
        if log_freq < 1:
            raise ValueError(f"log_freq={log_freq!r} must be an integer >= 1")
        self.log_freq = log_freq
        self._warned: set[str] = set()
        self._undiagnosed: dict[str, list[PopulationRecord]] = {}

    def _on_training_start(self) -> None:
        _spiking_policy(self)
        self._undiagnosed.clear()

    def _on_step(self) -> bool:
        if self.n_calls % self.log_freq == 0:
            with randomness_untouched():
                self._measure()
        return True

    def _measure(self) -> None:
        policy = _spiking_policy(self)
        recording = policy.spiking_network.record(policy.spiking_features(_observations_met(self)))
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
        """Warn of a population that is ill, once there are decisions enough, of this measurement and those before."""
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
    """Return several measurements of a population as one."""
    margins = [record.margin for record in records if record.margin is not None]
    return replace(
        records[-1],
        spikes=th.cat([record.spikes for record in records], dim=1),
        margin=th.cat(margins, dim=1) if margins else None,
    )


class SpikeFigureCallback(BaseCallback):
    """
    Draw the spikes for TensorBoard while an agent learns.

    - ``spikes/raster``: every spike of one decision, on the same observation each time
    - ``spikes/firing_rates``: how often the neurons of each population fire, on observations that the agent has met
    - ``spikes/<encoder>_fields``: receptive fields of a population encoder, now and when training started

    Nothing is drawn without TensorBoard (``tensorboard_log`` of the algorithm). SB3 writes with its next dump
    (``log_interval`` of ``learn``); what was drawn between two of them is replaced.

    :param draw_freq: environment steps (of all environments in parallel) between two drawings, >= 1
    :param verbose: not used
    :raises ValueError: if ``draw_freq`` is < 1, or, when training starts, if the policy does not spike
    """

    def __init__(self, draw_freq: int = 10_000, verbose: int = 0) -> None:
        super().__init__(verbose)
        if draw_freq < 1:
            raise ValueError(f"draw_freq={draw_freq!r} must be an integer >= 1")
        self.draw_freq = draw_freq
        self._observation: Any = None

    def _on_training_start(self) -> None:
        modules = _spiking_policy(self).spiking_network.modules()
        self._before = {part.name: copy.deepcopy(part) for part in modules if isinstance(part, PopulationEncoder)}

    def _on_step(self) -> bool:
        if self.n_calls % self.draw_freq == 0 and self._reaches_tensorboard():
            with randomness_untouched():
                self._draw()
        return True

    def _reaches_tensorboard(self) -> bool:
        return any(isinstance(output, TensorBoardOutputFormat) for output in self.logger.output_formats)

    def _draw(self) -> None:
        policy = _spiking_policy(self)
        network = policy.spiking_network
        met = _observations_met(self)
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

        # pyplot would keep a figure that no dump has closed.
        drawn = figure.Figure(figsize=(7.0, 5.0), layout="constrained")
        plot(ax=drawn.add_subplot())
        self.logger.record(f"spikes/{name}", Figure(drawn, close=True), exclude=("stdout", "log", "json", "csv"))


def _observations_met(callback: BaseCallback) -> PyTorchObs:
    """Return some of the observations that the agent met."""
    model = callback.model
    if isinstance(model, OffPolicyAlgorithm) and can_be_sampled(model.replay_buffer):
        size = min(MAX_DECISIONS, model.replay_buffer.size())
        return model.replay_buffer.sample(size, env=model.get_vec_normalize_env()).observations
    met: Any = model._last_obs
    if isinstance(model, OnPolicyAlgorithm) and model.rollout_buffer.pos > 0:
        met = each_entry(model.rollout_buffer.observations, lambda all_of: _last(all_of[: model.rollout_buffer.pos]))
    return each_entry(met, lambda array: th.as_tensor(array, device=model.device))


def can_be_sampled(buffer: ReplayBuffer | None) -> TypeGuard[ReplayBuffer]:
    """
    Tell whether a replay buffer holds something to draw from.

    :param buffer: of an off-policy algorithm
    :return: False while it is empty; of a hindsight buffer, before an episode has ended
    """
    if isinstance(buffer, HerReplayBuffer):
        return bool(buffer.ep_length.any())
    return buffer is not None and buffer.size() > 0


def _last(rollout: np.ndarray) -> np.ndarray:
    """Return the last decisions of ``[steps, environments, *shape]`` as one batch."""
    return rollout.reshape(-1, *rollout.shape[2:])[-MAX_DECISIONS:]


def each_entry(observations: Any, function: Callable[[Any], Any]) -> Any:
    """
    Apply a function to an observation, or to each entry of a Dict.

    :param observations: arrays or tensors, or a dict of them
    :param function: of one of them
    :return: its results, in the same form
    """
    if isinstance(observations, dict):
        return {name: function(entry) for name, entry in observations.items()}
    return function(observations)


class SurrogateScheduleCallback(BaseCallback):
    """
    Change the surrogate gradient during training, linearly from one steepness to another.

    Wide surrogates let more neurons learn, narrow ones follow the spikes more closely; shallow slopes, or slopes that
    grow, help spiking agents to learn (van den Berghe et al., 2025). Spikes do not change, gradients do. The constant
    is the ``width`` of ``"rect"`` and ``"triangle"``, the ``slope`` of ``"atan"`` and ``"sigmoid"``. It is not saved
    with the model: a loaded model has that of its ``surrogate_kwargs``.

    :param final: the constant at the end, > 0
    :param initial: the constant at the start, > 0; that of the policy if None
    :param fraction: share of the training during which it changes, in (0, 1]
    :param verbose: not used
    :raises ValueError: if a value is not allowed, or, when training starts, if the policy does not spike or its
        surrogate has another number of constants than one
    """

    def __init__(self, final: float, initial: float | None = None, fraction: float = 1.0, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.final = positive_float("final", final)
        self.initial = None if initial is None else positive_float("initial", initial)
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction={fraction!r} must lie in (0, 1]")
        self.fraction = fraction

    def _on_training_start(self) -> None:
        options = _spiking_policy(self).spiking_options
        self._surrogate = options.surrogate_options()
        self._constant = _only_constant(self._surrogate)
        self._check_layers()
        self._start = getattr(self._surrogate, self._constant) if self.initial is None else self.initial
        self._set(self._start)

    def _on_step(self) -> bool:
        progress = min(1.0, self.num_timesteps / (self.fraction * self.model._total_timesteps))
        self._set(self._start + progress * (self.final - self._start))
        return True

    def _layers(self) -> Iterator[SpikingLayer]:
        modules = _spiking_policy(self).spiking_network.modules()
        return (module for module in modules if isinstance(module, SpikingLayer))

    def _check_layers(self) -> None:
        """Refuse to replace a surrogate that the user has put into the layers."""
        expected = type(self._surrogate.build())
        for layer in self._layers():
            found = type(layer.neuron.surrogate_function)
            if found is not expected:
                raise ValueError(
                    f"SurrogateScheduleCallback changes surrogate={self._surrogate.name!r}, but {layer.name} has "
                    f"{found.__name__} in its place; add one's own to sb3_spiking.snn.surrogates.SURROGATES instead"
                )

    def _set(self, value: float) -> None:
        # The constants alone: another module would be another network to those who act fast, and lose its hooks.
        constants = type(self._surrogate)(value).build()._sg_params
        for layer in self._layers():
            for name, constant in constants.items():
                setattr(layer.neuron.surrogate_function, name, constant)
        self.logger.record(f"spikes/surrogate_{self._constant}", value)


def _only_constant(surrogate: Surrogate) -> str:
    """Return the name of a surrogate's constant."""
    constants = [field.name for field in fields(surrogate)]
    if len(constants) != 1:
        raise ValueError(
            f"SurrogateScheduleCallback changes the one constant of a surrogate, and surrogate={surrogate.name!r} has "
            f"{len(constants)}: {', '.join(constants) or 'nothing to change'}"
        )
    return constants[0]


def _spiking_policy(callback: BaseCallback) -> SpikingPolicy:
    policy = callback.model.policy
    if not isinstance(policy, SpikingPolicy):
        raise ValueError(f"{type(callback).__name__} needs a spiking policy, not {type(policy).__name__}")
    return policy


@contextmanager
def randomness_untouched() -> Iterator[None]:
    """Give back the random states that sampling a replay buffer and Poisson encoders draw from."""
    state = np.random.get_state()  # noqa: NPY002 (SB3 samples from it)
    try:
        with th.random.fork_rng():
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
