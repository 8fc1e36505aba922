"""Report of a conversion: the spiking policy and the DQN in the same episodes."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sb3_spiking.arguments import positive_int, probability
from sb3_spiking.conversion.agent import Source, load_dqn
from sb3_spiking.conversion.agreement import Agreement, agreement_of
from sb3_spiking.conversion.policy import DenseQPolicy, SpikingQPolicy
from sb3_spiking.environments.recipe import AnyEnv, environments
from sb3_spiking.evaluation.rollout import MAX_STEPS, play
from sb3_spiking.evaluation.states import ObservationSample
from sb3_spiking.observations import Observation
from sb3_spiking.plotting import plot_paired_returns
from sb3_spiking.printable import aligned
from sb3_spiking.snn.operations import HOROWITZ_45NM, CostModel, DecisionCost, nanojoules

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ENVS = 20
"""Maximum number of episodes that are played at a time."""

MAX_RECORDED = 256
"""Number of decisions whose spikes and operations are counted."""


@dataclass(frozen=True)
class Report:
    """
    Agreement, returns and costs of a conversion.

    Agreement is that on the states of the spiking policy's own episodes, or on given states if nothing was played.
    Both agents play the same seeds.

    :param coding: name of the coding
    :param time_steps: number of time steps in which a neuron can spike
    :param latency: number of time steps from an observation to its decision
    :param dqn_returns: return of each episode of the DQN; empty if nothing was played
    :param snn_returns: return of each episode of the spiking policy
    :param decisions: agreement of the decisions
    :param cost: operations of the spiking policy, per decision
    :param cost_model: hardware of the joules
    :param dqn_effective_macs: multiply-accumulates of the DQN with an input other than 0, per decision
    :param dqn_cut: number of episodes of the DQN that did not end and were cut; their returns are those until then
    :param snn_cut: number of such episodes of the spiking policy
    """

    coding: str
    time_steps: int
    latency: int
    dqn_returns: tuple[float, ...]
    snn_returns: tuple[float, ...]
    decisions: Agreement
    cost: DecisionCost
    cost_model: CostModel
    dqn_effective_macs: float
    dqn_cut: int = 0
    snn_cut: int = 0

    @property
    def agreement(self) -> float:
        """Share of equal greedy actions, in [0, 1]."""
        return self.decisions.agreement

    @property
    def dqn_return(self) -> float | None:
        """Mean return of the DQN; None if nothing was played."""
        return float(np.mean(self.dqn_returns)) if self.dqn_returns else None

    @property
    def snn_return(self) -> float | None:
        """Mean return of the spiking policy; None if nothing was played."""
        return float(np.mean(self.snn_returns)) if self.snn_returns else None

    @property
    def dqn_joules(self) -> float:
        """Energy of the DQN's arithmetic, per decision."""
        return self.cost_model.joules(self.cost.dense_macs)

    @property
    def dqn_effective_joules(self) -> float:
        """Energy of the DQN's arithmetic on hardware that skips inputs of 0, per decision."""
        return self.cost_model.joules(self.dqn_effective_macs)

    @property
    def snn_joules(self) -> float:
        """Energy of the spiking policy's arithmetic, per decision."""
        return self.cost_model.joules(self.cost.macs, self.cost.synops)

    def to_json(self) -> str:
        """Return the report as JSON, with the derived quantities."""
        fields = dataclasses.asdict(self)
        first = {name: getattr(self, name) for name in ("agreement", "dqn_return", "snn_return")}
        joules = {name: getattr(self, name) for name in ("dqn_joules", "dqn_effective_joules", "snn_joules")}
        cut = {name: fields.pop(name) for name in ("dqn_cut", "snn_cut")}
        return json.dumps({**first, **fields, **joules, **cut}, indent=2)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of a table: quantity, DQN, spiking policy; operations are per decision."""
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
        return aligned([("", "DQN", f"SNN ({self.coding})"), *self.rows()])

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """
        Draw the returns of both agents, episode by episode.

        :param ax: axes to draw on; those of a new figure if None
        :return: the axes
        """
        return plot_paired_returns(self.dqn_returns, self.snn_returns, ax)


def compare(
    dqn: DenseQPolicy | Source,
    snn: SpikingQPolicy,
    env: AnyEnv,
    episodes: int = 20,
    seed: int = 0,
    epsilon: float = 0.0,
    cost_model: CostModel = HOROWITZ_45NM,
    progress: Callable[[], Any] = lambda: None,
    max_steps: int = MAX_STEPS,
) -> Report:
    """
    Compare a spiking policy with its DQN in the same episodes.

    :param dqn: the DQN: a model, its file, or the policy that `load_dqn` returned
    :param snn: the spiking policy converted from it
    :param env: an environment or several, its id or its recipe
    :param episodes: number of episodes of each agent, >= 1
    :param seed: seed of the first episode; the i-th begins with ``seed + i``
    :param epsilon: probability of a random action of either agent, in [0, 1] (0.05 in Tan et al., 2021)
    :param cost_model: hardware of the joules
    :param progress: function called after each episode of either agent, without arguments
    :param max_steps: limit of an episode, in steps; the report counts episodes that were cut
    :return: the report
    :raises ValueError: if the environment does not fit the agent
    """
    positive_int("episodes", episodes)
    positive_int("max_steps", max_steps)
    probability("epsilon", epsilon)
    teacher = dqn if isinstance(dqn, DenseQPolicy) else load_dqn(dqn)
    sample = ObservationSample(MAX_RECORDED)
    values: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def watch(met: Observation, q_values: np.ndarray) -> None:
        sample.add(met)
        values.append((teacher.q_values(met)[0], q_values, snn.output_spikes(met)))

    returns: tuple[list[float], list[float]] = ([], [])
    cut: tuple[list[int], list[int]] = ([], [])
    n_envs = min(episodes, MAX_ENVS)
    with environments(env, teacher.observation_space, teacher.action_space, n_envs, seed) as venv:
        for agent, policy, watching in ((0, teacher, None), (1, snn, watch)):
            for episode_return in play(policy, venv, episodes, seed, epsilon, watching, max_steps, cut[agent].append):
                returns[agent].append(episode_return)
                progress()
    of_dqn, of_snn, of_spikes = (np.concatenate(each) for each in zip(*values, strict=True))
    agreement = agreement_of(of_dqn, of_snn, of_spikes)
    report = _report(teacher, snn, agreement, sample.observations(), cost_model, *returns)
    return dataclasses.replace(report, dqn_cut=len(cut[0]), snn_cut=len(cut[1]))


def compare_on_states(
    dqn: DenseQPolicy, snn: SpikingQPolicy, observations: Observation, cost_model: CostModel = HOROWITZ_45NM
) -> Report:
    """
    Compare a spiking policy with its DQN on given states, without an environment.

    :param dqn: the DQN
    :param snn: the spiking policy converted from it
    :param observations: states, ``[N, *shape]``, or a dict of such arrays
    :param cost_model: hardware of the joules
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
    return Report(
        coding=snn.network.coding.name,
        time_steps=snn.network.coding.time_steps,
        latency=snn.network.latency,
        dqn_returns=tuple(dqn_returns),
        snn_returns=tuple(snn_returns),
        decisions=decisions,
        cost=snn.cost(observations),
        cost_model=cost_model,
        dqn_effective_macs=dqn.effective_macs(observations),
    )


def _spread(returns: Sequence[float]) -> str:
    return f"{np.mean(returns):.1f} +- {np.std(returns):.1f}"
