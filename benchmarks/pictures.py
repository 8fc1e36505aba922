"""
Figures of docs/pictures.md, from a trained agent and from the records of the learning runs.

    python examples/inverted_pendulum.py --out demo
    python benchmarks/pictures.py demo/popsan.zip

Loading the agent with SB3 runs code in its file: use a trusted one.
"""

import argparse
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium as gym
import learning
import learning_tasks
import matplotlib
import numpy as np
import records
import torch as th
from PIL import Image
from stable_baselines3 import TD3
from stable_baselines3.common.vec_env import VecEnv

from sb3_spiking.plotting import (
    plot_encoding,
    plot_firing_rates,
    plot_interquartile_means,
    plot_learning_curve,
    plot_membranes,
    plot_receptive_fields,
    plot_spike_raster,
)
from sb3_spiking.policies.td3 import PopSANPolicy
from sb3_spiking.snn import PopulationEncoder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENV = "InvertedPendulum-v5"
NAMES = ("cart position", "pole angle", "cart velocity", "pole velocity")
RANDOM_EPISODES = 20


def policy_of(model: TD3) -> tuple[PopSANPolicy, PopulationEncoder]:
    """Return the policy and the encoder of a model."""
    policy = model.policy
    assert isinstance(policy, PopSANPolicy)
    encoder = policy.spiking_network.encoder
    assert isinstance(encoder, PopulationEncoder)
    return policy, encoder


def features_met(model: TD3, seed: int = 0, steps: int = 256) -> th.Tensor:
    """Return the network's inputs in an episode with a random push at each step: ``[steps, obs_dim]``."""
    env = gym.make(ENV)
    pushes = np.random.default_rng(seed).normal(0.0, 1.0, size=(steps, 1))
    observation, _ = env.reset(seed=seed)
    met = []
    for push in pushes:
        met.append(observation)
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, truncated, _ = env.step((action + push).astype(np.float32))
        if terminated or truncated:
            observation, _ = env.reset()
    return policy_of(model)[0].spiking_features(th.as_tensor(np.stack(met)))


def random_return(env: VecEnv) -> float:
    """Return the mean return of random actions."""
    env.action_space.seed(0)
    env.reset()
    returns: list[float] = []
    while len(returns) < RANDOM_EPISODES:
        *_, infos = env.step(np.stack([env.action_space.sample()]))
        returns += [info["episode"]["r"] for info in infos if "episode" in info]
    return float(np.mean(returns))


def normalized_scores() -> dict[str, list[list[float]]]:
    """
    Return a score for each recorded run, a row for each task with vector observations and complete runs.

    A score is the mean of a run's ten evaluations, so that early learning counts. Scores are normalised: 0 is random
    play, 1 the final return of the ANN, averaged over its seeds.
    """
    scores: dict[str, list[list[float]]] = {"popsan": [], "mlp": []}
    for name, task in learning_tasks.TASKS.items():
        runs = {agent: learning.recorded_runs(name, agent) for agent in scores}
        if any(len(done) != len(task.seeds) for done in runs.values()):
            continue
        low = random_return(learning_tasks.make_env(task, 1, 0))
        high = float(np.mean([run["returns"][-1] for run in runs["mlp"]]))
        print(f"{name}: random {low:.1f}, ANN {high:.1f}")
        for agent, done in runs.items():
            scores[agent].append([(float(np.mean(run["returns"])) - low) / (high - low) for run in done])
    return scores


def learning_curves(ax: "Axes") -> None:
    """Draw the recorded learning curves of a task."""
    for agent in ("popsan", "mlp"):
        runs = learning.recorded_runs("td3-doublependulum", agent)
        returns = np.array([run["returns"] for run in runs]).T
        plot_learning_curve(
            runs[0]["timesteps"], returns.tolist(), ax, label=f"{learning_tasks.LABELS[agent]} ({len(runs)} seeds)"
        )
    ax.set_title("TD3 on InvertedDoublePendulum-v5")


def save(figure: "Figure", path: Path) -> None:
    """Write a small PNG file: line plots need few colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="agent saved by examples/inverted_pendulum.py")
    parser.add_argument("--out", type=Path, default=records.DOCS / "images" / "pictures")
    parser.add_argument("--only", help="name of a single figure to draw")
    args = parser.parse_args()
    th.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    model = TD3.load(args.model, device="cpu")
    policy, encoder = policy_of(model)
    _, before = policy_of(TD3("PopSANPolicy", ENV, buffer_size=1, device="cpu"))
    features = features_met(model)
    recording = policy.spiking_network.record(features)
    # The observation farthest from the mean: near the mean only the central fields respond.
    decision = int(features.abs().amin(dim=1).argmax())
    pictures: dict[str, tuple[tuple[float, float], Callable[[Axes], object]]] = {
        "raster": ((6.0, 5.0), lambda ax: plot_spike_raster(recording, ax, decision)),
        "membranes": ((7.0, 4.0), lambda ax: plot_membranes(recording, "output", ax, decision)),
        "fields": ((7.0, 5.0), lambda ax: plot_receptive_fields(encoder, ax, before, NAMES)),
        "encoding": ((8.0, 5.0), lambda ax: plot_encoding(encoder, features[decision], ax, NAMES)),
        "rates": ((6.0, 5.0), lambda ax: plot_firing_rates(recording, ax)),
        "curves": ((6.0, 4.0), learning_curves),
        "iqm": ((6.0, 2.4), lambda ax: plot_interquartile_means(normalized_scores(), ax)),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for name, (size, draw) in pictures.items():
        if args.only in (None, name):
            figure, ax = plt.subplots(figsize=size, layout="constrained")
            draw(ax)
            save(figure, args.out / f"{name}.png")
            plt.close(figure)


if __name__ == "__main__":
    main()
