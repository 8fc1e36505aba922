"""Conversion of a DQN with its report, as ``sb3-spiking convert`` makes it."""

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.arguments import non_negative_int, positive_int, probability
from sb3_spiking.conversion.agent import Source, checkpoint_of, policy_of, read_or_trust
from sb3_spiking.conversion.agreement import Agreement
from sb3_spiking.conversion.converter import calibration_states, checked_features, convert_policy
from sb3_spiking.conversion.dense import check_decision
from sb3_spiking.conversion.methods import Method, make_method
from sb3_spiking.conversion.policy import DenseQPolicy, SpikingQPolicy
from sb3_spiking.conversion.report import Report, compare, compare_on_states
from sb3_spiking.conversion.sweep import TIME_STEPS, over_thresholds, over_time_steps, sweep
from sb3_spiking.environments.recipe import AnyEnv, EnvRecipe, given
from sb3_spiking.evaluation.rollout import MAX_STEPS
from sb3_spiking.files import output_files, replacing
from sb3_spiking.observations import Observation, each_entry, features_shape, length, rows
from sb3_spiking.plotting import plot_sweep
from sb3_spiking.plotting.axes import new_figure
from sb3_spiking.reading.checkpoint import Checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTPUTS = (".zip", ".json", ".png")
"""Suffixes of the files of a saved study: the policy, the numbers and the figure."""

MAX_TEST_STATES = 2000
"""Limit of the held-out states."""
CALIBRATION_EPSILON = 0.05
OTHER_EPISODES = 10_000
"""Distance of the seed of the held-out episodes."""
SHORT_SWEEP = 64
"""Largest number of time steps in the figure, unless a longer sweep is asked for."""

Stage = Callable[[str, int], AbstractContextManager[Callable[[], Any]]]
"""
Progress display: called with the name and the number of units of a stage, it returns a context manager, whose value is
called once per unit.
"""


@dataclass(frozen=True)
class Study:
    """
    A conversion and its evaluation.

    :param policy: the spiking policy
    :param report: comparison with the DQN
    :param sweeps: agreement for other time steps (and thresholds) on held-out states, by setting and value
    :param evaluation: settings of the evaluation: ``episodes``, ``seed``, ``epsilon``, ``max_episode_steps``
    :param env: recipe of the environment; None without one, or with environments made elsewhere
    """

    policy: SpikingQPolicy
    report: Report
    sweeps: Mapping[str, Mapping[str, Agreement]]
    evaluation: Mapping[str, Any]
    env: EnvRecipe | None = None

    def to_json(self) -> str:
        """Return the report, all the settings and the sweeps as JSON."""
        content = json.loads(self.report.to_json())
        content["settings"] = {**dataclasses.asdict(self.policy.network.coding), **self.policy.origin}
        content["evaluation"] = dict(self.evaluation)
        content["sweeps"] = {
            name: {value: dataclasses.asdict(result) for value, result in results.items()}
            for name, results in self.sweeps.items()
        }
        return json.dumps(content, indent=2)

    def plot(self) -> "Figure":
        """Draw the returns, if there are any, and the agreement of each sweep in a new figure."""
        panels: list[Callable[[Any], Any]] = [self.report.plot] if self.report.dqn_returns else []
        panels += [partial(plot_sweep, name, results) for name, results in self.sweeps.items()]
        figure = new_figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
        for index, draw in enumerate(panels):
            draw(figure.add_subplot(1, len(panels), index + 1))
        return figure

    def save(self, path: str | Path, overwrite: bool = False) -> list[Path]:
        """
        Save the policy, and beside it the numbers as JSON and the figure as PNG: all of them or none.

        :param path: file of the policy, ``.zip``
        :param overwrite: whether existing files may be replaced
        :return: the three files
        :raises ValueError: if they cannot be written
        """
        outputs = output_files(path, OUTPUTS, overwrite)
        saved = dataclasses.replace(self, policy=copy.copy(self.policy))
        if self.env is not None:
            place = _env_to_json(self.env, outputs[0].resolve().parent)
            saved.policy.origin = {**self.policy.origin, "env": place}
        with replacing(*outputs) as (network, numbers, figure):
            saved.policy.save(network)
            numbers.write_text(saved.to_json() + "\n")
            self.plot().savefig(figure, format="png", dpi=120)
        return outputs


def study(
    dqn: Source | Checkpoint,
    env: AnyEnv | None = None,
    observations: Observation | None = None,
    method: str | Method | None = None,
    time_steps: int | None = None,
    threshold: str | None = None,
    per_neuron: bool | None = None,
    *,
    test_observations: Observation | None = None,
    finetune_steps: int = 0,
    states: int = 10_000,
    episodes: int = 20,
    epsilon: float = 0.0,
    seed: int = 0,
    max_steps: int = MAX_STEPS,
    sweep_time: bool = False,
    sweep_threshold: bool = False,
    trust: bool = False,
    source: str | None = None,
    stage: Stage = lambda name, units: nullcontext(lambda: None),
    **constants: Any,
) -> Study:
    """
    Convert a trained DQN or QRDQN, and measure the agreement, the returns and the costs.

    ``sb3-spiking convert`` calls this function: the same settings give the same network and the same numbers.

    :param dqn: the DQN: a model, its file (read as data), or the content of one; it is not changed
    :param env: environment of the calibration and of the episodes: an environment or several, its id or its
        recipe; without one,
        nothing is played
    :param observations: calibration states, ``[N, *shape]``, or a dict of such arrays; collected in ``env`` if None
    :param method: method of conversion, a key of ``METHODS``; ``"ternary"`` if None
    :param time_steps: number of time steps in which a neuron can spike; the method's default if None
    :param threshold: rule of the thresholds: ``"max"``, ``"99.9%"`` or ``"max*1.5"``; the method's default if None
    :param per_neuron: whether each neuron (channel) has a threshold of its own, or else each layer; the method's
        default if None
    :param test_observations: held-out states of the sweeps, ``[N, *shape]``, or a dict of such arrays; if None, a fifth
        of ``observations``, or states of other episodes in ``env``
    :param finetune_steps: number of gradient steps of distillation, >= 0
    :param states: number of calibration states to collect, >= 1
    :param episodes: number of episodes of each agent, >= 1
    :param epsilon: probability of a random action in these episodes, in [0, 1]
    :param seed: seed of the first episode, of the collection and of the fine-tuning
    :param max_steps: limit of an episode, in steps, >= 1
    :param sweep_time: whether more than 64 time steps are tried
    :param sweep_threshold: whether other thresholds are tried
    :param trust: whether SB3 may load a file that needs code to be read, and run the code
    :param source: name of the DQN in the policy's notes; that of its file if None
    :param stage: progress display of each stage
    :param constants: further constants of the coding, for example ``initial=0.0``
    :return: the spiking policy, its report and the sweeps
    :raises ValueError: if the agent cannot be converted, a value is not allowed, or there is nothing to calibrate on
    """
    chosen = make_method(method, time_steps, threshold, per_neuron, **constants)
    for name, count in {"states": states, "episodes": episodes, "max_steps": max_steps}.items():
        positive_int(name, count)
    non_negative_int("finetune_steps", finetune_steps)
    probability("epsilon", epsilon)
    if observations is None and env is None:
        raise ValueError("observations=None and env=None: thresholds need states; pass an environment or states")
    checkpoint = _checkpoint(dqn, trust)
    teacher = policy_of(checkpoint)
    check_decision(teacher.network.layers, features_shape(teacher.observation_space), chosen.coding.time_steps)
    env = None if env is None else given(env)
    recipe = env if isinstance(env, EnvRecipe) else None

    if test_observations is not None:
        test_observations = each_entry(test_observations, np.asarray)
        checked_features(teacher, test_observations)
    if observations is None:
        calibration, test = _collected(teacher, env, states, seed, stage, test_observations)  # type: ignore[arg-type]
    elif test_observations is None:
        calibration, test = _held_out(each_entry(observations, np.asarray), seed)
    else:
        calibration, test = each_entry(observations, np.asarray), test_observations
    with stage("fine-tuning", finetune_steps) as advance:
        snn = convert_policy(teacher, calibration, chosen, finetune_steps, seed, advance)
    if env is None:
        report = compare_on_states(teacher, snn, test)
    else:
        with stage("playing episodes", 2 * episodes) as advance:
            report = compare(teacher, snn, env, episodes, seed, epsilon, progress=advance, max_steps=max_steps)

    longest = max(TIME_STEPS) if sweep_time else min(chosen.coding.time_steps, SHORT_SWEEP)
    tried = {"time steps": over_time_steps(chosen, longest)}
    if sweep_threshold:
        tried["threshold"] = over_thresholds(chosen)
    sweeps = {}
    for setting, methods in tried.items():
        with stage(f"trying {setting}", len(methods)) as advance:
            sweeps[setting] = sweep(teacher, calibration, test, methods, advance)

    snn.origin.update(
        source=Path(dqn).name if source is None and isinstance(dqn, str | Path) else source,
        sha256=checkpoint.sha256,
        algorithm=checkpoint.algorithm,
        env=None if recipe is None else _env_to_json(recipe),
    )
    evaluation = {"episodes": episodes, "seed": seed, "epsilon": epsilon, "max_episode_steps": max_steps}
    return Study(snn, report, sweeps, evaluation, recipe)


def _checkpoint(dqn: Source | Checkpoint, trust: bool) -> Checkpoint:
    if isinstance(dqn, Checkpoint):
        return dqn
    return read_or_trust(dqn, trust) if isinstance(dqn, str | Path) else checkpoint_of(dqn)


def _collected(
    dqn: DenseQPolicy,
    env: VecEnv | EnvRecipe,
    states: int,
    seed: int,
    stage: Stage,
    test: Observation | None,
) -> tuple[Observation, Observation]:
    """Collect calibration states and, if none are given, held-out ones of other episodes without random actions."""
    tests = min(MAX_TEST_STATES, states) if test is None else 0
    with stage("collecting states", states + tests) as advance:
        calibration = calibration_states(dqn, env, states, CALIBRATION_EPSILON, seed, advance)
        if test is None:
            test = calibration_states(dqn, env, tests, 0.0, seed + OTHER_EPISODES, advance)
    return calibration, test


def _held_out(observations: Observation, seed: int) -> tuple[Observation, Observation]:
    """Split states at random into four fifths and one fifth; a set of less than five serves as both."""
    order = np.random.default_rng(seed).permutation(length(observations))
    held_out = len(order) // 5
    return rows(observations, order[held_out:]), rows(observations, order[:held_out] if held_out else order)


def _env_to_json(env: EnvRecipe, folder: Path | None = None) -> dict[str, Any]:
    """Return a recipe as JSON; statistics below the folder of the saved policy are noted relative to it."""
    statistics = env.vec_normalize
    if statistics is not None:
        place = statistics.resolve()
        if folder is None:
            statistics = place
        elif place.is_relative_to(folder):
            statistics = place.relative_to(folder)
    noted = None if statistics is None else str(statistics)
    return {**dataclasses.asdict(env), "kwargs": dict(env.kwargs), "vec_normalize": noted}
