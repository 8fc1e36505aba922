"""
Train one spiking PPO agent on several processes with separate environments.

    torchrun --nproc-per-node 2 examples/distributed_ppo.py
"""

import argparse
from pathlib import Path

import gymnasium as gym
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

import sb3_spiking
from sb3_spiking.distributed import DataParallelCallback


def main() -> None:
    """Train on all ranks; evaluate and save on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60_000, help="environment steps, summed over the processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("distributed_ppo.zip"))
    args = parser.parse_args()
    th.set_num_threads(1)

    # --8<-- [start:example]
    evaluation = EvalCallback(Monitor(gym.make("CartPole-v1")), eval_freq=1_024)
    parallel = DataParallelCallback(rank_zero=evaluation)

    # Steps and batch size are per rank: two ranks learn from 2048 steps in batches of 128.
    env = make_vec_env("CartPole-v1", n_envs=4)
    model = PPO("PopSANPolicy", env, n_steps=256, batch_size=64, seed=args.seed)
    model.learn(args.steps, callback=parallel)
    if parallel.is_main:
        model.save(args.out)
        # --8<-- [end:example]
        print(f"{model.num_timesteps} steps by {parallel.world_size} processes; the model is in {args.out}")


if __name__ == "__main__":
    main()
