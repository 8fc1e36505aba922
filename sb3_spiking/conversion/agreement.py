"""Agreement of a spiking policy's decisions with the DQN's."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """
    Comparison of greedy decisions on the same observations.

    :param decisions: number of decisions
    :param agreement: share of equal greedy actions, in [0, 1]: the conversion rate of Tan et al. (2021), whose robust
        rate reads spikes and remaining membranes
    :param spikes_agreement: the same share, with only the spikes of output neurons read
    :param q_error: root mean squared difference of the Q-values, in standard deviations of the DQN's
    :param action_gap: median difference of the DQN's best two Q-values, in the same unit
    :param cheap_disagreements: share of the disagreements that cost the DQN less than ``cheap_gap``; None without any
    :param cheap_gap: limit of a cheap disagreement, in the same unit
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
    Compare decisions by their Q-values.

    :param dqn: Q-values of the DQN, ``[N, actions]``
    :param snn: Q-values of the spiking policy
    :param spikes: Q-values of its output spikes alone
    :param cheap_gap: limit of a cheap disagreement, in standard deviations of the DQN's Q-values
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
