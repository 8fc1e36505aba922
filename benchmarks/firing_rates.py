"""
Firing rates of untrained spiking convolutions on real frames, with and without membrane normalisation.

    python benchmarks/firing_rates.py

Prints the Markdown table of docs/results.md: mean and minimum rate of each layer over seeds of the weights.
"""

import argparse

import numpy as np
import records
import torch as th
from stable_baselines3.common.vec_env import VecEnv

import sb3_spiking
from sb3_spiking.snn import Part, SpikingNetwork, SpikingOptions
from sb3_spiking.snn.convolutions import dense_size

GAMES = {
    "Breakout": lambda: sb3_spiking.make_atari_env("BreakoutNoFrameskip-v4", seed=0),
    "Pong": lambda: sb3_spiking.make_atari_env("PongNoFrameskip-v4", seed=0),
    "SpaceInvaders": lambda: sb3_spiking.make_atari_env("SpaceInvadersNoFrameskip-v4", seed=0),
    "MinAtar asterix": lambda: sb3_spiking.make_minatar_env("asterix", seed=0),
    "MinAtar breakout": lambda: sb3_spiking.make_minatar_env("breakout", seed=0),
}


def frames(env: VecEnv, count: int, every: int = 8) -> th.Tensor:
    """Return frames of random play, in [0, 1], channels first: ``[count, C, H, W]``."""
    env.reset()
    env.action_space.seed(0)
    met = [np.asarray(env.step(np.array([env.action_space.sample()]))[0]) for _ in range(count * every)]
    images = th.as_tensor(np.concatenate(met[::every])).float() / 255
    # Frames of Atari are channels last.
    return images.permute(0, 3, 1, 2).contiguous() if images.shape[-1] < images.shape[1] else images


def rates(images: th.Tensor, options: SpikingOptions, seed: int) -> list[float]:
    """Return the mean firing rate of each population of an untrained network."""
    th.manual_seed(seed)
    shape = tuple(images.shape[1:])
    network = SpikingNetwork([Part("", shape)], 4, [dense_size(shape)], options)
    return [population.spikes.mean().item() for population in network.record(images.flatten(1)).populations]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=16)
    args = parser.parse_args()
    th.set_num_threads(1)
    rows = []
    for game, make in GAMES.items():
        images = frames(make(), args.frames)
        for norm in ("none", "layer"):
            for time_steps in (4, 8):
                options = SpikingOptions(
                    time_steps=time_steps, encoder="direct", decoder_population=None, membrane_norm=norm
                )
                measured = np.array([rates(images, options, seed) for seed in range(args.seeds)])
                cells = [
                    f"{mean:.1%} ({low:.1%})"
                    for mean, low in zip(measured.mean(axis=0), measured.min(axis=0), strict=True)
                ]
                blank = [""] * (4 - len(cells))
                rows.append([game, norm, time_steps, *cells[:-1], *blank, cells[-1]])
    heading = ["frames", "`membrane_norm`", "T", "conv0", "conv1", "conv2", "hidden0"]
    print(*records.table(heading, rows), sep="\n")


if __name__ == "__main__":
    main()
