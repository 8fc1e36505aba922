"""
Returns of the original authors' trained actor in our policy, and their sensitivity to rounding.

    python benchmarks/reference_actor.py path/to/actor.npz

Prints the cost of a decision on the recorded observations (docs/energy.md), and a Markdown table for docs/results.md:
returns on HalfCheetah-v5 for ``reset(seed=0..4)`` as recorded with the authors' code, of our policy, and of our policy
with noise of 1e-7 added to every action.
"""

import argparse
from pathlib import Path

import gymnasium as gym
import numpy as np
import records
import torch as th
from stable_baselines3 import TD3

import sb3_spiking
from sb3_spiking.policies.td3 import PopSANPolicy
from sb3_spiking.snn.operations import decision_cost

ENV = "HalfCheetah-v5"


def load_actor(checkpoint: Path) -> tuple[TD3, dict[str, np.ndarray]]:
    """Return a model with the authors' actor, and what is recorded beside its parameters."""
    with np.load(checkpoint, allow_pickle=False) as data:
        reference = dict(data)
    model = TD3("PopSANPolicy", ENV, buffer_size=1, device="cpu")
    state_dict = {name.replace("/", "."): value for name, value in reference.items() if "/" in name}
    sb3_spiking.load_popsan_checkpoint(model, state_dict, reference["obs_mean"], reference["obs_var"])
    return model, reference


def episode_return(model: TD3, seed: int, noise: float) -> float:
    """Return the undiscounted return of one episode."""
    env = gym.make(ENV)
    generator = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        action, _ = model.predict(observation, deterministic=True)
        perturbed = action + noise * generator.standard_normal(action.shape)
        observation, reward, terminated, truncated, _ = env.step(perturbed.astype(np.float32))
        total += float(reward)
        done = terminated or truncated
    return total


def main() -> None:
    """Load the actor, run the episodes, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="actor.npz: parameters, slashes for dots, obs_mean, obs_var")
    args = parser.parse_args()
    th.set_num_threads(1)
    model, reference = load_actor(args.checkpoint)
    policy = model.policy
    assert isinstance(policy, PopSANPolicy)
    print(decision_cost(policy.spiking_network, policy.spiking_features(th.as_tensor(reference["observations"]))), "\n")
    rows = {
        "recorded": list(reference["returns_seed0to4"]),
        "our policy": [episode_return(model, seed, 0.0) for seed in range(5)],
        "our policy, actions + 1e-7 noise": [episode_return(model, seed, 1e-7) for seed in range(5)],
    }
    cells = [[name, *(f"{value:.0f}" for value in [*returns, np.mean(returns)])] for name, returns in rows.items()]
    print(*records.table(["", *(f"seed {seed}" for seed in range(5)), "mean"], cells), sep="\n")


if __name__ == "__main__":
    main()
