"""
Distillation by DAgger: the student acts more and more often, the teacher labels what the student meets.

Source: Ross, Gordon and Bagnell, A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning, AISTATS 2011. A student that only saw its teacher's states would not know the way back from its own mistakes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.arguments import positive_float, positive_int, probability
from sb3_spiking.distillation.dataset import LabelledStates
from sb3_spiking.distillation.imitation import half_range, imitation_loss
from sb3_spiking.distillation.report import Distillation
from sb3_spiking.environments.recipe import AnyEnv, check_spaces, environments
from sb3_spiking.errors import Argument, InputError
from sb3_spiking.evaluation.agents import TrainedAgent
from sb3_spiking.evaluation.rollout import MAX_STEPS, end_games, play
from sb3_spiking.evaluation.states import ObservationSample
from sb3_spiking.observations import Observation
from sb3_spiking.policies.common import SpikingPolicy
from sb3_spiking.policies.normalization import RunningNormExtractor

N_ENVS = 8
"""Number of environments that are made."""

MAX_RECORDED = 256
"""Number of decisions whose operations are counted."""

OTHER_EPISODES = 2**20
"""Distance of the seeds of the labelled episodes from those of the final ones."""

TEACHING = 0.25
"""Share of the rounds in which the teacher still acts now and then, ever less often."""


@dataclass(frozen=True)
class Budget:
    """
    Budget of a distillation; see `distill`.

    :param steps: number of labelled states
    :param gradient_steps: number of gradient steps; None for the default
    :param rounds: number of rounds
    :param batch_size: number of states of a gradient step
    :param learning_rate: initial learning rate
    :param exploration: noise on the actions that are taken
    :raises ValueError: if a value is not allowed
    """

    steps: int
    gradient_steps: int | None
    rounds: int
    batch_size: int
    learning_rate: float
    exploration: float

    def __post_init__(self) -> None:
        for name in ("steps", "rounds", "batch_size"):
            positive_int(name, getattr(self, name))
        positive_float("learning_rate", self.learning_rate)
        probability("exploration", self.exploration)
        for name, value in (("steps", self.steps), ("gradient_steps", self.all_gradient_steps)):
            if positive_int(name, value) < self.rounds:
                raise InputError(Argument(name, value), " must be at least ", Argument("rounds", self.rounds))

    @property
    def all_gradient_steps(self) -> int:
        """Number of gradient steps."""
        return max(2000, self.steps // 10) if self.gradient_steps is None else self.gradient_steps

    def until(self, number: int) -> tuple[int, int]:
        """Return the numbers of labelled states and of gradient steps up to the end of a round; the first one is 0."""
        return self.steps * (number + 1) // self.rounds, self.all_gradient_steps * (number + 1) // self.rounds

    def teaching(self, number: int) -> float:
        """Return the probability that the teacher acts in a round; the first one is 0."""
        return max(0.0, 1.0 - number / max(1.0, TEACHING * self.rounds))


def distill(
    teacher: BaseAlgorithm | BasePolicy,
    student: BaseAlgorithm,
    env: AnyEnv,
    steps: int = 50_000,
    *,
    gradient_steps: int | None = None,
    rounds: int = 20,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    exploration: float = 0.05,
    episodes: int = 10,
    max_steps: int = MAX_STEPS,
    seed: int = 0,
    progress: Callable[[], Any] = lambda: None,
) -> Distillation:
    """
    Teach a spiking student the deterministic actions of a teacher (DAgger).

    In each round the teacher labels the states that are met; then the student's spiking network learns from all the
    labelled states so far. The teacher acts in the first round, and ever less often during the first quarter of the
    rounds; then the student acts alone. Critics and action noise of the student are not trained. A DQN as a student
    learns scores whose order is the teacher's, not returns.

    Where the student normalises observations and has not met any, its statistics are fitted to the first round.

    :param teacher: trained model of any algorithm of SB3, or its policy, recurrent ones too; it is not changed
    :param student: model with a spiking policy, new or trained, for the same spaces
    :param env: environment or several, its id or its recipe
    :param steps: number of labelled states, >= ``rounds``
    :param gradient_steps: number of gradient steps in all the rounds, >= ``rounds``; a tenth of ``steps``, but at least
        2000, if None
    :param rounds: number of rounds, >= 1
    :param batch_size: number of states of a gradient step
    :param learning_rate: initial learning rate of Adam, which falls linearly to 0
    :param exploration: standard deviation of the noise on continuous actions, in units of half their range, and
        probability of a random action for others, in [0, 1]
    :param episodes: number of episodes of each agent in the end
    :param max_steps: limit of such an episode, in steps
    :param seed: seed of the order of the states and of the first final episode; labelled episodes have other seeds
    :param progress: function called after each labelled state and each gradient step, without arguments
    :return: report, with the returns of both on the same seeds
    :raises TypeError: if the teacher is no model, or the student does not spike
    :raises ValueError: if the spaces differ, the environment does not fit, or a value is not allowed
    """
    policy = _student_policy(student)
    _check_actions(teacher, policy)
    expert, learner = _teacher_agent(teacher), TrainedAgent(policy, type(student).__name__)
    budget = Budget(steps, gradient_steps, rounds, batch_size, learning_rate, exploration)
    positive_int("episodes", episodes)
    positive_int("max_steps", max_steps)
    states, rng = LabelledStates(policy.observation_space, steps), np.random.default_rng(seed)
    optimizer = th.optim.Adam(policy.spiking_network.parameters(), learning_rate)
    schedule = th.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, budget.all_gradient_steps)
    losses, taken = [], 0
    started = time.perf_counter()
    with environments(env, policy.observation_space, policy.action_space, N_ENVS, seed) as venv:
        check_spaces(venv, expert.observation_space, expert.action_space)
        walk = _Walk(expert, learner, venv, rng, exploration, seed)
        for number in range(rounds):
            labelled, trained = budget.until(number)
            walk.collect(states, labelled, budget.teaching(number), progress)
            _fit_normalization(policy, states)
            losses.append(_learn(policy, states, optimizer, schedule, trained - taken, batch_size, rng, progress))
            taken = trained
        _update_targets(policy)
        seconds = time.perf_counter() - started
        return _compare(expert, learner, venv, states, losses, seconds, episodes, max_steps, seed)


class _Walk:
    """
    Walk through the environments, over the ends of episodes.

    :param teacher: agent that labels
    :param student: agent that learns
    :param env: environments
    :param rng: generator of all choices
    :param exploration: see `distill`
    :param seed: seed of the environments
    """

    def __init__(
        self,
        teacher: TrainedAgent,
        student: TrainedAgent,
        env: VecEnv,
        rng: np.random.Generator,
        exploration: float,
        seed: int,
    ) -> None:
        self._teacher, self._student, self._env, self._rng = teacher, student, env, rng
        self._exploration = exploration
        for agent in (teacher, student):
            agent.enter(env)
        if teacher.masks_actions and not student.masks_actions:
            raise ValueError("student: the environment masks actions for the teacher; make it with MaskablePPO too")
        if exploration and student.masks_actions:
            raise InputError(Argument("exploration", exploration), " must be 0 where the environment masks actions")
        end_games(env)
        env.seed(seed + OTHER_EPISODES)
        env.action_space.seed(seed)
        self._observations: Any = env.reset()
        self._state: Any = None
        self._starts = np.ones(env.num_envs, dtype=bool)

    def collect(self, states: LabelledStates, until: int, teaching: float, progress: Callable[[], Any]) -> None:
        """
        Label states until there are so many of them.

        :param states: data set
        :param until: number of states in it afterwards
        :param teaching: probability that the teacher acts
        :param progress: function called after each state, without arguments
        """
        while states.filled < until:
            labels, self._state = self._teacher.decide(self._observations, self._state, self._starts)
            before = states.filled
            states.add(self._observations, labels)
            for _ in range(states.filled - before):
                progress()
            actions = labels
            if teaching < 1.0:
                own, _ = self._student.decide(self._observations)
                by_teacher = self._rng.random(len(labels)) < teaching
                actions = np.where(by_teacher.reshape(-1, *[1] * (labels.ndim - 1)), labels, own)
            self._observations, _, self._starts, _ = self._env.step(self._explored(actions))

    def _explored(self, actions: np.ndarray) -> np.ndarray:
        space = self._env.action_space
        if isinstance(space, spaces.Box):
            noise = self._exploration * half_range(space) * self._rng.standard_normal(actions.shape)
            return np.clip(actions + noise, space.low, space.high).astype(space.dtype)
        explores = self._rng.random(len(actions)) < self._exploration
        return np.stack(
            [space.sample() if random else action for random, action in zip(explores, actions, strict=True)]
        )


def _learn(
    policy: SpikingPolicy,
    states: LabelledStates,
    optimizer: th.optim.Optimizer,
    schedule: th.optim.lr_scheduler.LRScheduler,
    steps: int,
    batch_size: int,
    rng: np.random.Generator,
    progress: Callable[[], Any],
) -> float:
    """Take gradient steps; return their mean loss."""
    action_map, total = policy.action_map(), 0.0
    for _ in range(steps):
        observations, actions = states.batch(rng.integers(states.filled, size=batch_size))
        outputs = policy.spiking_network(policy.spiking_features(policy.obs_to_tensor(observations)[0]))
        loss = imitation_loss(action_map, outputs, th.as_tensor(actions, device=outputs.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
        progress()
    if not math.isfinite(total):
        raise ValueError("the loss of the student is not finite; a lower learning_rate= may help")
    return total / steps


def _fit_normalization(policy: SpikingPolicy, states: LabelledStates) -> None:
    """Fit the observation statistics, unless there are none or some were gathered."""
    extractors = [module for module in policy.modules() if isinstance(module, RunningNormExtractor)]
    if extractors and states.filled > 1 and not any(extractor.gathered.item() for extractor in extractors):
        policy.fit_normalization(states.batch(slice(states.filled))[0])


def _update_targets(policy: SpikingPolicy) -> None:
    """Copy what was learnt to target networks of the actor, so that training can go on."""
    model, _ = policy._actor_and_extractor()
    for name, module in policy.named_children():
        if module is model and (target := policy._modules.get(f"{name}_target")) is not None:
            target.load_state_dict(module.state_dict())


def _compare(
    teacher: TrainedAgent,
    student: TrainedAgent,
    env: VecEnv,
    states: LabelledStates,
    losses: list[float],
    seconds: float,
    episodes: int,
    max_steps: int,
    seed: int,
) -> Distillation:
    """Play the final episodes."""
    space, cut = env.action_space, list[int]()
    sample, pairs = ObservationSample(MAX_RECORDED), list[tuple[np.ndarray, np.ndarray]]()

    # Masks are those of all the environments, and a recurrent teacher remembers what it has met.
    labels_states = not teacher.masks_actions and not teacher.is_recurrent

    def watch(met: Observation, actions: np.ndarray) -> None:
        sample.add(met)
        if labels_states:
            pairs.append((teacher.decide(met)[0], actions))

    teachers = tuple(play(teacher, env, episodes, seed, max_steps=max_steps, cut=cut.append))
    students = tuple(play(student, env, episodes, seed, watch=watch, max_steps=max_steps, cut=cut.append))
    agreement = error = None
    if pairs:
        wanted, chosen = (np.concatenate(each) for each in zip(*pairs, strict=True))
        if isinstance(space, spaces.Box):
            error = float(np.sqrt(np.mean(np.square((chosen - wanted) / half_range(space)))))
        else:
            agreement = float(np.mean((chosen == wanted).reshape(len(wanted), -1).all(axis=1)))
    cost = student.cost(sample.observations())
    return Distillation(
        states.filled, tuple(losses), teachers, students, agreement, error, cost, round(seconds, 1), len(cut)
    )


def _student_policy(student: BaseAlgorithm) -> SpikingPolicy:
    policy = getattr(student, "policy", None)
    if not isinstance(student, BaseAlgorithm) or not isinstance(policy, SpikingPolicy):
        named = type(student).__name__ if policy is None else f"{type(student).__name__} with {type(policy).__name__}"
        raise TypeError(f'student={named} does not spike; make it with a spiking policy, as PPO("PopSANPolicy", env)')
    return policy


def _check_actions(teacher: object, student: SpikingPolicy) -> None:
    """Check that actions of both begin at the same number, which the check of spaces leaves out."""
    own, others = (getattr(getattr(each, "action_space", None), "start", 0) for each in (teacher, student))
    if np.any(np.not_equal(own, others)):
        raise ValueError(f"the teacher's actions begin at {own}, the student's at {others}")


def _teacher_agent(teacher: BaseAlgorithm | BasePolicy) -> TrainedAgent:
    policy = teacher.policy if isinstance(teacher, BaseAlgorithm) else teacher
    if not isinstance(policy, BasePolicy):
        raise TypeError(f"teacher={type(teacher).__name__} must be a model of Stable-Baselines3, or its policy")
    return TrainedAgent(policy, type(teacher).__name__)
