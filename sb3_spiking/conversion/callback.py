"""Converting a DQN while it learns: what it would be worth as a spiking network."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization, unwrap_vec_normalize

from sb3_spiking.arguments import positive_int
from sb3_spiking.callbacks.training import can_be_sampled
from sb3_spiking.conversion.agent import load_dqn
from sb3_spiking.conversion.converter import convert_policy
from sb3_spiking.conversion.methods import DEFAULT, make_method
from sb3_spiking.conversion.policy import DenseQPolicy, Observation, SpikingQPolicy
from sb3_spiking.conversion.report import MAX_ENVS, Agreement, agreement_of
from sb3_spiking.conversion.rollout import MAX_STEPS, play
from sb3_spiking.environments.recipe import EnvError, EnvRecipe, check_spaces
from sb3_spiking.notices import warn
from sb3_spiking.observations import each_entry
from sb3_spiking.randomness import randomness_untouched

BEST = "best_snn.zip"

MAX_RECORDED = 32
"""From how many decisions spikes are counted."""


class ConversionCallback(BaseCallback):
    """
    Convert a DQN or QRDQN every now and then while it learns, and keep the best spiking copy.

    Every ``eval_freq`` calls the agent is converted as it is, with thresholds from states of its replay buffer. The
    copy plays ``n_eval_episodes``, the same ones each time, and these are logged:

    - ``conversion/snn_return``: mean return of the copy
    - ``conversion/agreement``: share of its decisions that are the DQN's greedy action on the same observation
    - ``conversion/q_error``: root of the mean squared difference of the Q-values, in standard deviations of the DQN's
    - ``conversion/spikes``: spikes per decision, on states of the replay buffer

    The DQN learns what it would have learnt without the callback. As with SB3's ``EvalCallback``, each call is a step
    of all the training environments: with several of them, ``eval_freq = max(eval_freq // n_envs, 1)`` counts steps.

    Attributes: ``best_snn``, None before the first evaluation, its ``best_mean_return`` and its ``best_agreement``.

    :param eval_env: where the copy plays: an environment, an id of gymnasium, or how to make one; to be wrapped as the
        training environment, from which it takes over the statistics of a ``VecNormalize``
    :param eval_freq: calls between two evaluations, >= 1
    :param n_eval_episodes: episodes of an evaluation, >= 1
    :param coding: how spikes carry activations, a key of ``METHODS``
    :param time_steps: steps in which a neuron can spike; the coding's default if None
    :param threshold: ``"max"``, ``"99.9%"`` or ``"max*1.5"``; the coding's default if None
    :param per_neuron: a threshold for each neuron (channel) instead of each layer; the coding's default if None
    :param states: how many states to draw from the replay buffer; while it is empty, there is no evaluation
    :param best_model_save_path: folder for the best copy, ``best_snn.zip``; one of another run is not replaced
    :param seed: the i-th episode of every evaluation begins with seed ``seed + i``
    :param verbose: 0 or 1; 1 prints each evaluation
    :param max_steps: where an episode is cut, with a warning, that does not end
    :param constants: others of the coding's values, for example ``initial=0.0``
    :raises ValueError: if a value is not allowed, or, when training starts, if the agent cannot be converted,
        ``eval_env`` is not made for it, or ``best_snn.zip`` is there already
    """

    def __init__(
        self,
        eval_env: GymEnv | EnvRecipe | str,
        eval_freq: int = 10_000,
        n_eval_episodes: int = 5,
        coding: str = DEFAULT,
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
        self.method = make_method(coding, time_steps, threshold, per_neuron, **constants)
        self.eval_freq = positive_int("eval_freq", eval_freq)
        self.n_eval_episodes = positive_int("n_eval_episodes", n_eval_episodes)
        self.states = positive_int("states", states)
        self.max_steps = positive_int("max_steps", max_steps)
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"seed={seed!r} must be an integer >= 0")
        self.seed = int(seed)
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
            with _training_untouched(self.model):
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
        except ValueError as error:  # A training may diverge; it is not for its evaluation to end it.
            warn(f"The DQN of step {self.num_timesteps} is not converted: {error}.")
            return
        snn.origin["timesteps"] = self.num_timesteps
        returns, decisions = self._play(dqn, snn)
        mean_return = float(np.mean(returns))
        some = each_entry(states, lambda array: array[:MAX_RECORDED])
        self.logger.record("conversion/snn_return", mean_return)
        self.logger.record("conversion/agreement", decisions.agreement)
        self.logger.record("conversion/q_error", decisions.q_error)
        self.logger.record("conversion/spikes", snn.cost(some).spikes)
        # As EvalCallback does: with the step at which it was measured, and not at the end of some episode.
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
        """Return what the spiking copy gets, and how it decides where it gets to."""
        values: list[tuple[np.ndarray, np.ndarray]] = []

        def watch(met: Observation, q_values: np.ndarray) -> None:
            values.append((dqn.q_values(met)[0], q_values))

        returns = list(play(snn, self.eval_env, self.n_eval_episodes, self.seed, watch=watch, max_steps=self.max_steps))
        of_dqn, of_snn = (np.concatenate(each) for each in zip(*values, strict=True))
        return returns, agreement_of(of_dqn, of_snn, spikes=of_snn)  # what output spikes alone say is not asked for

    def _calibration_states(self) -> Observation | None:
        """Return states as the policy sees them, None if there are none yet."""
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
        except (AssertionError, AttributeError):  # so does sync_envs_normalization tell
            alike = False
        if not alike:
            raise ValueError(
                f"eval_env={own} has its VecNormalize elsewhere than the training environment {training}, so the agent "
                "would see other observations: wrap both in the same way"
            )


def _vectorized(env: GymEnv | EnvRecipe | str, n_envs: int, seed: int) -> VecEnv:
    """Return environments as SB3's algorithms wrap them, made where there are none yet."""
    if isinstance(env, gym.Env | VecEnv):
        return BaseAlgorithm._wrap_env(env)
    if not isinstance(env, EnvRecipe | str):
        raise ValueError(f"eval_env={env!r} must be an environment or the id of one")
    try:
        return (EnvRecipe(env) if isinstance(env, str) else env).make(n_envs, seed)
    except EnvError as error:
        raise ValueError(f"eval_env={env!r} cannot be made: {error}") from error


def _copy_of(model: Any) -> DenseQPolicy:
    """Return the DQN as it is, with spaces of its own: whoever plays seeds its action space."""
    return copy.deepcopy(load_dqn(model))


def _arrays(observations: PyTorchObs, space: spaces.Space) -> Any:
    """Return observations of a replay buffer, which holds no scalars, in the shape that environments give them."""
    if isinstance(observations, dict):
        return {name: _arrays(entry, space[name]) for name, entry in observations.items()}
    return observations.cpu().numpy().reshape(-1, *space.shape)


def _simulations(env: VecEnv) -> set[int]:
    """Return the identities of what lies beneath the wrappers."""
    innermost = env.unwrapped
    return {id(innermost), *(id(each.unwrapped) for each in getattr(innermost, "envs", []))}


@contextmanager
def _training_untouched(model: BaseAlgorithm) -> Iterator[None]:
    """Give back all the random states that a training draws from; the evaluation's environment may use any of them."""
    state, actions = random.getstate(), model.action_space.np_random.bit_generator.state
    try:
        with randomness_untouched():
            yield
    finally:
        random.setstate(state)
        model.action_space.np_random.bit_generator.state = actions
