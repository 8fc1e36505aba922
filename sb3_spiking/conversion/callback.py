"""Callback that converts a DQN during its training, and evaluates the spiking copy."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization, unwrap_vec_normalize

from sb3_spiking.arguments import non_negative_int, positive_int
from sb3_spiking.callbacks.training import can_be_sampled
from sb3_spiking.conversion.agent import load_dqn
from sb3_spiking.conversion.agreement import Agreement, agreement_of
from sb3_spiking.conversion.converter import convert_policy
from sb3_spiking.conversion.methods import Method, make_method
from sb3_spiking.conversion.policy import DenseQPolicy, SpikingQPolicy
from sb3_spiking.conversion.report import MAX_ENVS
from sb3_spiking.environments.recipe import AnyEnv, EnvError, check_spaces, frozen_statistics, given
from sb3_spiking.evaluation.rollout import MAX_STEPS, play
from sb3_spiking.notices import warn
from sb3_spiking.observations import Observation, rows
from sb3_spiking.randomness import randomness_untouched

BEST = "best_snn.zip"

MAX_RECORDED = 32
"""Number of decisions whose spikes are counted."""


class ConversionCallback(BaseCallback):
    """
    Convert a DQN or QRDQN at intervals during its training, and keep the best spiking copy.

    Every ``eval_freq`` calls the agent is converted, with thresholds from states of its replay buffer. The copy plays
    the same ``n_eval_episodes`` each time, and these values are logged:

    - ``conversion/snn_return``: mean return of the copy
    - ``conversion/agreement``: share of its decisions that are the DQN's greedy action on the same observation
    - ``conversion/q_error``: root of the mean squared difference of the Q-values, in standard deviations of the DQN's
    - ``conversion/spikes``: spikes per decision, on states of the replay buffer

    Training is the same with and without the callback. As with SB3's ``EvalCallback``, each call is a step of all the
    training environments: with several of them, ``eval_freq = max(eval_freq // n_envs, 1)`` counts steps.

    Attributes: ``best_snn``, None before the first evaluation, its ``best_mean_return`` and its ``best_agreement``.

    :param eval_env: environment of the copy: an environment, its id or its recipe; wrapped as the training
        environment, from which it takes over the statistics of a ``VecNormalize``
    :param eval_freq: number of calls between two evaluations, >= 1
    :param n_eval_episodes: number of episodes of an evaluation, >= 1
    :param method: method of conversion, a key of ``METHODS``; ``"ternary"`` if None
    :param time_steps: number of time steps in which a neuron can spike; the method's default if None
    :param threshold: rule of the thresholds: ``"max"``, ``"99.9%"`` or ``"max*1.5"``; the method's default if None
    :param per_neuron: whether each neuron (channel) has a threshold of its own, or else each layer; the method's
        default if None
    :param states: number of states to draw from the replay buffer; while it is empty, there is no evaluation
    :param best_model_save_path: folder of the best copy, ``best_snn.zip``; one of another run is not replaced
    :param seed: seed of the first episode of every evaluation; the i-th begins with ``seed + i``
    :param verbose: 0 or 1; 1 prints each evaluation
    :param max_steps: limit of an episode, in steps; one that does not end is cut with a warning
    :param constants: further constants of the coding, for example ``initial=0.0``
    :raises ValueError: if a value is not allowed, or, when training starts, if the agent cannot be converted,
        ``eval_env`` is not made for it, or ``best_snn.zip`` is there already
    """

    def __init__(
        self,
        eval_env: AnyEnv,
        eval_freq: int = 10_000,
        n_eval_episodes: int = 5,
        method: str | Method | None = None,
        time_steps: int | None = None,
        threshold: str | None = None,
        per_neuron: bool | None = None,
        states: int = 2000,
        best_model_save_path: str | Path | None = None,
        seed: int = 0,
        verbose: int = 1,
        max_steps: int = MAX_STEPS,
        **constants: Any,
    ) -> None:
        super().__init__(verbose)
        self.method = make_method(method, time_steps, threshold, per_neuron, **constants)
        self.eval_freq = positive_int("eval_freq", eval_freq)
        self.n_eval_episodes = positive_int("n_eval_episodes", n_eval_episodes)
        self.states = positive_int("states", states)
        self.max_steps = positive_int("max_steps", max_steps)
        self.seed = non_negative_int("seed", seed)
        self.eval_env = _vectorized(eval_env, min(self.n_eval_episodes, MAX_ENVS), self.seed)
        self.best_model_save_path = None if best_model_save_path is None else Path(best_model_save_path)
        self.best_snn: SpikingQPolicy | None = None
        self.best_mean_return = -np.inf
        self.best_agreement = 0.0

    def _init_callback(self) -> None:
        self._check_eval_env(_copy_of(self.model))
        if self.best_model_save_path is not None:
            if self.best_snn is None and (self.best_model_save_path / BEST).exists():
                raise ValueError(
                    f"best_model_save_path={str(self.best_model_save_path)!r} has the {BEST} of another run, and it is "
                    "not replaced: move it away or name another folder"
                )
            self.best_model_save_path.mkdir(parents=True, exist_ok=True)

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            with randomness_untouched(self.model.action_space):
                self._evaluate()
        return True

    def _evaluate(self) -> None:
        states = self._calibration_states()
        if states is None:
            return
        self._take_over_statistics()
        try:
            dqn = _copy_of(self.model)
            snn = convert_policy(dqn, states, self.method)
        except ValueError as error:  # A diverged DQN skips this evaluation; it must not stop the training.
            warn(f"The DQN of step {self.num_timesteps} is not converted: {error}.")
            return
        snn.origin["timesteps"] = self.num_timesteps
        returns, decisions = self._play(dqn, snn)
        mean_return = float(np.mean(returns))
        self.logger.record("conversion/snn_return", mean_return)
        self.logger.record("conversion/agreement", decisions.agreement)
        self.logger.record("conversion/q_error", decisions.q_error)
        self.logger.record("conversion/spikes", snn.cost(rows(states, slice(MAX_RECORDED))).spikes)
        # As in EvalCallback: dumped with the step of the measurement, not at the end of an episode.
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)
        if self.verbose:
            print(
                f"{self.num_timesteps} steps: the spiking copy's return is {mean_return:.2f} +- {np.std(returns):.2f}, "
                f"{100 * decisions.agreement:.2f} % of its decisions are the DQN's"
            )
        if (mean_return, decisions.agreement) > (self.best_mean_return, self.best_agreement):
            self.best_snn, self.best_mean_return, self.best_agreement = snn, mean_return, decisions.agreement
            if self.best_model_save_path is not None:
                snn.save(self.best_model_save_path / BEST)

    def _play(self, dqn: DenseQPolicy, snn: SpikingQPolicy) -> tuple[list[float], Agreement]:
        """Return the returns of the spiking copy, and its agreement on the states that it meets."""
        values: list[tuple[np.ndarray, np.ndarray]] = []

        def watch(met: Observation, q_values: np.ndarray) -> None:
            values.append((dqn.q_values(met)[0], q_values))

        with frozen_statistics(self.eval_env):
            episodes = play(snn, self.eval_env, self.n_eval_episodes, self.seed, watch=watch, max_steps=self.max_steps)
            returns = list(episodes)
        of_dqn, of_snn = (np.concatenate(each) for each in zip(*values, strict=True))
        return returns, agreement_of(of_dqn, of_snn, spikes=of_snn)  # spikes_agreement is not used

    def _calibration_states(self) -> Observation | None:
        """Return states of the replay buffer as the policy sees them; None if there are none yet."""
        model: Any = self.model
        buffer = model.replay_buffer
        if not can_be_sampled(buffer):
            return None
        drawn = buffer.sample(self.states, env=model.get_vec_normalize_env())
        return _arrays(drawn.observations, model.observation_space)

    def _take_over_statistics(self) -> None:
        if self.model.get_vec_normalize_env() is not None:
            sync_envs_normalization(self.training_env, self.eval_env)

    def _check_eval_env(self, dqn: DenseQPolicy) -> None:
        own, training = self.eval_env, self.training_env
        if _simulations(own) & _simulations(training):
            raise ValueError("eval_env is the training environment, which others must not play in: make a second one")
        try:
            check_spaces(own, dqn.observation_space, dqn.action_space)
        except EnvError as error:
            raise ValueError(
                f"eval_env does not fit the agent: it observes {own.observation_space} and acts in {own.action_space}, "
                f"the agent {dqn.observation_space} and {dqn.action_space}; make it as the training environment"
            ) from error
        try:
            self._take_over_statistics()
            alike = (unwrap_vec_normalize(own) is None) == (self.model.get_vec_normalize_env() is None)
        except (AssertionError, AttributeError):  # raised by sync_envs_normalization
            alike = False
        if not alike:
            raise ValueError(
                f"eval_env={own} has its VecNormalize elsewhere than the training environment {training}, so the agent "
                "would see other observations: wrap both in the same way"
            )


def _vectorized(env: AnyEnv, n_envs: int, seed: int) -> VecEnv:
    """Return the environments wrapped as by SB3's algorithms; make them from an id or a recipe."""
    found = given(env, "eval_env")
    if isinstance(found, VecEnv):
        return found
    try:
        return found.make(n_envs, seed)
    except EnvError as error:
        raise ValueError(f"eval_env={env!r} cannot be made: {error}") from error


def _copy_of(model: Any) -> DenseQPolicy:
    """Return a copy of the DQN, with spaces of its own: playing seeds the action space."""
    return copy.deepcopy(load_dqn(model))


def _arrays(observations: PyTorchObs, space: spaces.Space) -> Any:
    """Reshape observations of a replay buffer, which stores no scalars, as environments return them."""
    if isinstance(observations, dict):
        return {name: _arrays(entry, space[name]) for name, entry in observations.items()}
    return observations.cpu().numpy().reshape(-1, *space.shape)


def _simulations(env: VecEnv) -> set[int]:
    """Return the identities of the environments below the wrappers."""
    innermost = env.unwrapped
    return {id(innermost), *(id(each.unwrapped) for each in getattr(innermost, "envs", []))}
