"""Report of a distillation: teacher and student in the same episodes."""

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sb3_spiking.plotting import plot_paired_returns
from sb3_spiking.printable import aligned
from sb3_spiking.snn.operations import HOROWITZ_45NM, DecisionCost, nanojoules

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Distillation:
    """
    What a student learnt.

    Agreement and error are those on the states of the student's own episodes.

    :param samples: number of states that the teacher labelled
    :param losses: mean loss of the gradient steps of each round
    :param teacher_returns: return of each episode of the teacher
    :param student_returns: return of each episode of the student, on the same seeds
    :param agreement: share of equal actions, in [0, 1]; None for continuous and masked actions, and recurrent teachers
    :param error: root of the mean squared difference of continuous actions, in units of half their range; None for
        others and recurrent teachers
    :param cost: operations of the student, per decision
    :param seconds: duration, without the final episodes
    :param cut: number of episodes that did not end and were cut
    """

    samples: int
    losses: tuple[float, ...]
    teacher_returns: tuple[float, ...]
    student_returns: tuple[float, ...]
    agreement: float | None
    error: float | None
    cost: DecisionCost
    seconds: float
    cut: int = 0

    @property
    def teacher_return(self) -> float:
        """Mean return of the teacher."""
        return float(np.mean(self.teacher_returns))

    @property
    def student_return(self) -> float:
        """Mean return of the student."""
        return float(np.mean(self.student_returns))

    def to_json(self) -> str:
        """Return the report as JSON, with the mean returns."""
        means = {name: getattr(self, name) for name in ("teacher_return", "student_return")}
        return json.dumps({**means, **dataclasses.asdict(self)}, indent=2)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of a table: quantity, teacher, student; operations are per decision."""
        rows = [
            (
                f"return ({len(self.student_returns)} episodes)",
                _spread(self.teacher_returns),
                _spread(self.student_returns),
            )
        ]
        if self.cut:
            rows.append(("episodes of both that did not end and were cut", "", f"{self.cut}"))
        if self.agreement is not None:
            rows.append(("equal actions", "", f"{100 * self.agreement:.1f} %"))
        if self.error is not None:
            rows.append(("error of the action [half of its range]", "", f"{self.error:.3f}"))
        joules = HOROWITZ_45NM.joules
        return [
            *rows,
            ("labelled states", "", f"{self.samples}"),
            ("loss, first and last round", "", f"{self.losses[0]:.4g}, {self.losses[-1]:.4g}"),
            ("seconds", "", f"{self.seconds:.0f}"),
            ("firing rate", "", f"{100 * self.cost.mean_firing_rate:.1f} %"),
            ("accumulates", "", f"{self.cost.synops:.0f}"),
            ("multiply-accumulates", "", f"{self.cost.macs:.0f}"),
            ("energy of the arithmetic [nJ]", "", nanojoules(joules(self.cost.macs, self.cost.synops))),
            ("  of an ANN of the student's size [nJ]", "", nanojoules(joules(self.cost.ann_macs))),
        ]

    def __str__(self) -> str:
        return aligned([("", "teacher", "student"), *self.rows()])

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """
        Draw the returns of both agents, episode by episode.

        :param ax: axes to draw on; those of a new figure if None
        :return: the axes
        """
        return plot_paired_returns(self.teacher_returns, self.student_returns, ax, labels=("teacher", "student"))


def _spread(returns: tuple[float, ...]) -> str:
    return f"{np.mean(returns):.1f} +- {np.std(returns):.1f}"
