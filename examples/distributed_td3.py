"""
Train one spiking TD3 agent on several processes.

    torchrun --nproc-per-node 2 examples/distributed_td3.py

Steps are summed over the processes. Each process learns from its own batches; gradients are averaged. ``--resume``
continues from the last checkpoint. MuJoCo is an extra: pip install -e ".[mujoco]"
"""

import argparse
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise

import sb3_spiking
from sb3_spiking.distributed import DataParallelCallback

ENV = "InvertedDoublePendulum-v5"


def main() -> None:
    """Train on all ranks; evaluate and save on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps, summed over the processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=Path("distributed_td3.zip"))
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    args = parser.parse_args()
    th.set_num_threads(1)

    evaluation = EvalCallback(Monitor(gym.make(ENV)), eval_freq=2_500, n_eval_episodes=10)
    parallel = DataParallelCallback(evaluation, checkpoint=args.checkpoint, checkpoint_every=5_000)
    if args.resume:
        model = TD3.load(args.checkpoint, gym.make(ENV))
    else:
        noise = NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))
        model = TD3(
            "PopSANPolicy",
            gym.make(ENV),
            learning_starts=1_000,
            action_noise=noise,
            seed=args.seed,
            verbose=parallel.is_main,
        )
    model.learn(args.steps - model.num_timesteps, parallel, reset_num_timesteps=False)
    if parallel.is_main:
        print(f"{model.num_timesteps} steps by {parallel.world_size} processes; the model is in {args.checkpoint}")


if __name__ == "__main__":
    main()
