"""
Draw receptive fields and spike counts of a population for several values of ``mean_range`` and ``encoder_std``.

    python examples/receptive_fields.py --out docs/images/receptive_fields.png

Each column is one choice of values. Top: activity of the ten neurons over the observation. Bottom: spike counts in the
five time steps of a decision. Observations are clipped to the range of the fields, as in the policy. Prints the number
of different spike count patterns of a population by number of time steps.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch as th

from sb3_spiking.snn.encoders import DeterministicEncoder

TIME_STEPS = 5
NEURONS = 10
OBSERVATIONS = th.linspace(-4.0, 4.0, 1601)


@dataclass(frozen=True)
class Choice:
    """
    Receptive fields of a population.

    :param title: title of the column
    :param mean_range: first and last mean of the fields
    :param std: width of each field
    """

    title: str
    mean_range: tuple[float, float]
    std: float


CHOICES = (
    Choice("the defaults", (-3.0, 3.0), math.sqrt(0.15)),
    Choice("too narrow: gaps where nothing fires", (-3.0, 3.0), 0.1),
    Choice("too wide: most neurons fire at anything", (-3.0, 3.0), 1.5),
    Choice("small range: all beyond 1 looks alike", (-1.0, 1.0), math.sqrt(0.05)),
)


@th.no_grad()
def respond(choice: Choice, time_steps: int = TIME_STEPS) -> tuple[th.Tensor, th.Tensor]:
    """Return the activities and the spike counts, both ``[observations, neurons]``."""
    limit = max(map(abs, choice.mean_range))
    encoder = DeterministicEncoder(1, NEURONS, time_steps, choice.mean_range, choice.std)
    clipped = OBSERVATIONS.clamp(-limit, limit)[:, None]
    return encoder.activity(clipped), encoder(clipped).tensor().sum(dim=0)


def codes(choice: Choice, time_steps: int = TIME_STEPS) -> int:
    """Return the number of different spike count patterns for observations between -3 and 3."""
    _, counts = respond(choice, time_steps)
    return len(counts[OBSERVATIONS.abs() <= 3.0].unique(dim=0))


def draw(axes: Sequence[Any], choice: Choice) -> Any:
    """Draw activities and spike counts of a choice into two axes and return the image of the counts."""
    activity, counts = respond(choice)
    axes[0].plot(OBSERVATIONS, activity, linewidth=1.2)
    axes[0].set_title(choice.title, fontsize=11)
    axes[0].set_ylim(0.0, 1.05)
    low, high = choice.mean_range
    extent = (OBSERVATIONS[0].item(), OBSERVATIONS[-1].item(), 0.5, NEURONS + 0.5)
    image = axes[1].imshow(
        counts.T,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=extent,
        cmap="Purples",
        vmin=0,
        vmax=TIME_STEPS,
    )
    axes[1].set_xlabel(
        f"observation (normalised)\nmean_range=({low:g}, {high:g}), encoder_std={choice.std:.3g}\n"
        f"{codes(choice)} different codes between -3 and 3"
    )
    return image


def main() -> None:
    """Draw and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("receptive_fields.png"), help="file of the figure")
    args = parser.parse_args()

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(CHOICES), figsize=(14.0, 5.2), sharex=True, sharey="row", layout="constrained")
    for column, choice in zip(axes.T, CHOICES, strict=True):
        image = draw(column, choice)
    axes[0, 0].set_ylabel("activity")
    axes[1, 0].set_ylabel("neuron")
    axes[1, 0].set_yticks(range(1, NEURONS + 1, 3))
    figure.colorbar(image, ax=axes, aspect=40, label=f"spikes in {TIME_STEPS} steps")
    figure.savefig(args.out, dpi=100)
    for time_steps in (1, 2, 3, 5, 8, 16):
        print(f"{codes(CHOICES[0], time_steps):4} different codes in {time_steps} steps")
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
