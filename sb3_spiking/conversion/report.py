"""What a conversion cost: the spiking policy beside the DQN, in the same episodes."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.arguments import positive_int
from sb3_spiking.conversion.agent import Source, load_dqn
from sb3_spiking.conversion.policy import DenseQPolicy, Observation, SpikingQPolicy
from sb3_spiking.conversion.rollout import MAX_STEPS, Sample, play
from sb3_spiking.environments.recipe import EnvRecipe, environments
from sb3_spiking.snn.operations import HOROWITZ_45NM, CostModel, DecisionCost, nanojoules

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ENVS = 20
"""How many episodes are played at a time."""

MAX_RECORDED = 256
"""From how many decisions spikes and operations are counted."""


@dataclass(frozen=True)
class Agreement:
    """
    How the decisions of a spiking policy differ from the DQN's on the same observations, before any randomness.

    :param decisions: how many
    :param agreement: share of equal greedy actions, in [0, 1]: the conversion rate of Tan et al. (2021), whose robust
        rate reads spikes and remaining membranes
    :param spikes_agreement: the same where only the spikes of output neurons are read
    :param q_error: root of the mean squared difference of the Q-values, in standard deviations of the DQN's
    :param action_gap: median difference of the DQN's best two Q-values, in the same unit
    :param cheap_disagreements: share of the disagreements that cost the DQN less than ``cheap_gap``; None without any
    :param cheap_gap: in the same unit
    """

    decisions: int
    agreement: float
    spikes_agreement: float
    q_error: float
    action_gap: float
    cheap_disagreements: float | None
    cheap_gap: float


def agreement_of(dqn: np.ndarray, snn: np.ndarray, spikes: np.ndarray, cheap_gap: float = 0.05) -> Agreement:
    """
    Compare decisions.

    :param dqn: Q-values of the DQN, ``[N, actions]``
    :param snn: those of the spiking policy
    :param spikes: those of its output spikes alone
    :param cheap_gap: which loss of Q-value is little, in standard deviations of the DQN's Q-values
    :return: the comparison
    """
    best, chosen = dqn.argmax(axis=1), snn.argmax(axis=1)
    scale = float(dqn.std()) or 1.0
    ordered = np.sort(dqn, axis=1)[:, -2:]
    differ = np.flatnonzero(best != chosen)
    lost = (dqn[differ, best[differ]] - dqn[differ, chosen[differ]]) / scale
    return Agreement(
        decisions=len(dqn),
        agreement=1.0 - len(differ) / len(dqn),
        spikes_agreement=float((best == spikes.argmax(axis=1)).mean()),
        q_error=float(np.sqrt(((snn - dqn) ** 2).mean())) / scale,
        action_gap=float(np.median(ordered[:, -1] - ordered[:, 0])) / scale,
        cheap_disagreements=float((lost < cheap_gap).mean()) if len(differ) else None,
        cheap_gap=cheap_gap,
    )


@dataclass(frozen=True)
class Report:
    """
    What a conversion cost.

    Agreement is that on the states which the spiking policy met, or on given ones where nothing was played; returns are
    those of the same seeds.

    :param agreement: share of equal greedy actions, in [0, 1]
    :param dqn_return: mean return of the DQN; None where nothing was played
    :param snn_return: mean return of the spiking policy
    :param coding: how spikes carry activations
    :param time_steps: steps in which a neuron can spike
    :param latency: steps from an observation to its decision
    :param dqn_returns: of each episode
    :param snn_returns: of each episode
    :param decisions: everything about the decisions
    :param cost: operations per decision
    :param cost_model: which hardware the joules are of
    :param dqn_effective_macs: multiply-accumulates of the DQN whose input is not 0, per decision
    :param dqn_joules: arithmetic of the DQN, per decision
    :param dqn_effective_joules: the same, where the hardware skips inputs of 0
    :param snn_joules: arithmetic of the spiking policy, per decision
    :param dqn_cut: how many episodes of the DQN did not end and were cut: their returns are what they had until then
    :param snn_cut: the same of the spiking policy
    """

    agreement: float
    dqn_return: float | None
    snn_return: float | None
    coding: str
    time_steps: int
    latency: int
    dqn_returns: tuple[float, ...]
    snn_returns: tuple[float, ...]
    decisions: Agreement
    cost: DecisionCost
    cost_model: CostModel
    dqn_effective_macs: float
    dqn_joules: float
    dqn_effective_joules: float
    snn_joules: float
    dqn_cut: int = 0
    snn_cut: int = 0

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return a table: quantity, of the DQN, of the spiking policy; operations are per decision."""
        decisions, cost = self.decisions, self.cost
        rows = []
        if self.dqn_returns:
            episodes = f"return ({len(self.dqn_returns)} episodes)"
            rows.append((episodes, _spread(self.dqn_returns), _spread(self.snn_returns)))
        if self.dqn_cut or self.snn_cut:
            rows.append(("episodes that did not end and were cut", f"{self.dqn_cut}", f"{self.snn_cut}"))
        rows.append((f"equal decisions (of {decisions.decisions})", "", f"{100 * self.agreement:.2f} %"))
        if decisions.cheap_disagreements is not None:
            cheap = f"{100 * decisions.cheap_disagreements:.0f} %"
            rows.append((f"unequal ones costing < {decisions.cheap_gap:g} std of Q", "", cheap))
        return [
            *rows,
            ("equal by output spikes alone", "", f"{100 * decisions.spikes_agreement:.2f} %"),
            ("error of Q [std of Q]", "", f"{decisions.q_error:.2g}"),
            ("lead of the best action [std of Q]", f"{decisions.action_gap:.2g}", ""),
            ("time steps", "", f"{self.time_steps}"),
            ("latency [steps]", "", f"{self.latency}"),
            ("spikes", "", f"{cost.spikes:.0f}"),
            ("firing rate", "", f"{100 * cost.mean_firing_rate:.1f} %"),
            ("accumulates", "", f"{cost.synops:.0f}"),
            ("multiply-accumulates", f"{cost.dense_macs}", ""),
            ("  whose input is not 0", f"{self.dqn_effective_macs:.0f}", f"{cost.macs:.0f}"),
            ("energy of the arithmetic [nJ]", nanojoules(self.dqn_joules), nanojoules(self.snn_joules)),
            ("  where zeros are skipped [nJ]", nanojoules(self.dqn_effective_joules), nanojoules(self.snn_joules)),
        ]

    def __str__(self) -> str:
        rows = [("", "DQN", f"SNN ({self.coding})"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        return "\n".join(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """
        Draw the returns of both agents, episode by episode.

        :param ax: where to draw; a new figure if None
        :return: the axes
        """
        from sb3_spiking.plotting import plot_paired_returns

        return plot_paired_returns(self.dqn_returns, self.snn_returns, ax)


def compare(
    dqn: DenseQPolicy | Source,
    snn: SpikingQPolicy,
    env: VecEnv | EnvRecipe | str,
    episodes: int = 20,
    seed: int = 0,
    epsilon: float = 0.0,
    cost_model: CostModel = HOROWITZ_45NM,
    progress: Callable[[float], Any] = lambda episode_return: None,
    max_steps: int = MAX_STEPS,
) -> Report:
    """
    Let both agents play the same episodes.

    :param dqn: the DQN: a model, its file, or what `load_dqn` returned
    :param snn: the spiking policy that was made of it
    :param env: where; an id of gymnasium, how to make one, or environments
    :param episodes: how many each of them plays
    :param seed: the i-th episode begins with seed ``seed + i``
    :param epsilon: probability of a random action of either agent (0.05 in Tan et al., 2021)
    :param cost_model: which hardware to give joules for
    :param progress: is told the return of every episode
    :param max_steps: where an episode is cut that does not end; the report counts these
    :return: the report
    :raises ValueError: if the environment is not the agent's
    """
    positive_int("episodes", episodes)
    positive_int("max_steps", max_steps)
    teacher = dqn if isinstance(dqn, DenseQPolicy) else load_dqn(dqn)
    n_envs = min(episodes, MAX_ENVS)
    with environments(env, teacher.observation_space, teacher.action_space, n_envs, seed) as venv:
        return _compare(teacher, snn, venv, episodes, seed, epsilon, cost_model, progress, max_steps)


def _compare(
    dqn: DenseQPolicy,
    snn: SpikingQPolicy,
    env: VecEnv,
    episodes: int,
    seed: int,
    epsilon: float,
    cost_model: CostModel,
    progress: Callable[[float], Any],
    max_steps: int,
) -> Report:
    some = Sample(MAX_RECORDED)
    values: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def watch(met: Observation, q_values: np.ndarray) -> None:
        some.add(met)
        values.append((dqn.q_values(met)[0], q_values, snn.output_spikes(met)))

    returns: list[list[float]] = []
    cut: list[list[int]] = []
    for policy, watching in ((dqn, None), (snn, watch)):
        returns.append([])
        cut.append([])
        for episode_return in play(policy, env, episodes, seed, epsilon, watching, max_steps, cut[-1].append):
            returns[-1].append(episode_return)
            progress(episode_return)
    of_dqn, of_snn, of_spikes = (np.concatenate(each) for each in zip(*values, strict=True))
    report = _report(dqn, snn, agreement_of(of_dqn, of_snn, of_spikes), some.observations(), cost_model, *returns)
    return dataclasses.replace(report, dqn_cut=len(cut[0]), snn_cut=len(cut[1]))


def compare_on_states(
    dqn: DenseQPolicy, snn: SpikingQPolicy, observations: Observation, cost_model: CostModel = HOROWITZ_45NM
) -> Report:
    """
    Let both agents decide on the same states, where there is no environment to play in.

    :param dqn: the DQN
    :param snn: the spiking policy that was made of it
    :param observations: ``[N, *shape]``, or these of each entry of a Dict
    :param cost_model: which hardware to give joules for
    :return: the report, without returns
    """
    decisions = agreement_of(
        dqn.q_values(observations)[0], snn.q_values(observations)[0], snn.output_spikes(observations)
    )
    return _report(dqn, snn, decisions, observations, cost_model, (), ())


def _report(
    dqn: DenseQPolicy,
    snn: SpikingQPolicy,
    decisions: Agreement,
    observations: Observation,
    cost_model: CostModel,
    dqn_returns: Sequence[float],
    snn_returns: Sequence[float],
) -> Report:
    cost = snn.cost(observations)
    effective_macs = dqn.effective_macs(observations)
    return Report(
        agreement=decisions.agreement,
        dqn_return=float(np.mean(dqn_returns)) if dqn_returns else None,
        snn_return=float(np.mean(snn_returns)) if snn_returns else None,
        coding=snn.network.coding.name,
        time_steps=snn.network.coding.time_steps,
        latency=snn.network.latency,
        dqn_returns=tuple(dqn_returns),
        snn_returns=tuple(snn_returns),
        decisions=decisions,
        cost=cost,
        cost_model=cost_model,
        dqn_effective_macs=effective_macs,
        dqn_joules=cost_model.joules(cost.dense_macs),
        dqn_effective_joules=cost_model.joules(effective_macs),
        snn_joules=cost_model.joules(cost.macs, cost.synops),
    )


def _spread(returns: Sequence[float]) -> str:
    return f"{np.mean(returns):.1f} +- {np.std(returns):.1f}"
