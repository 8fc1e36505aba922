"""
Draw what ``mean_range`` and ``encoder_std`` do to a population: its receptive fields, and the spikes they give.

    python examples/receptive_fields.py --out docs/images/receptive_fields.png

Each column is one choice. Above, the activity of the ten neurons over the observation; below, how often each of them
fires in the five steps of a decision. Observations are clipped where the fields end, as the policy clips them. Prints
how many different patterns of spike counts a population has in other numbers of steps.
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
    A population's receptive fields.

    :param title: what the choice shows
    :param mean_range: where the means begin and end
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
    """Return activity and spike counts of each neuron for each observation, both ``[observations, neurons]``."""
    limit = max(map(abs, choice.mean_range))
    encoder = DeterministicEncoder(1, NEURONS, time_steps, choice.mean_range, choice.std)
    seen = OBSERVATIONS.clamp(-limit, limit)[:, None]
    return encoder.activity(seen), encoder(seen).tensor().sum(dim=0)


def codes(choice: Choice, time_steps: int = TIME_STEPS) -> int:
    """Return how many different patterns of spike counts the observations from -3 to 3 give."""
    _, counts = respond(choice, time_steps)
    return len(counts[OBSERVATIONS.abs() <= 3.0].unique(dim=0))


def draw(axes: Sequence[Any], choice: Choice) -> Any:
    """Draw a choice into an axis for the activity and one for the spikes, and return the picture of the spikes."""
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
    """Draw and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("receptive_fields.png"), help="where to write the picture")
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
