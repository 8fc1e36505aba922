"""
Train a spiking agent until it balances a pole, and draw its spikes.

    python examples/inverted_pendulum.py --out demo

Writes the model (``popsan.zip``) and a figure (``popsan.png``: learning curve and spike raster of one decision).
MuJoCo is an extra: pip install -e ".[mujoco]"
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise

import sb3_spiking
from sb3_spiking.plotting import plot_learning_curve, plot_spike_raster
from sb3_spiking.policies.td3 import PopSANPolicy
from sb3_spiking.snn.operations import cost_of

ENV = "InvertedPendulum-v5"
BALANCED = 990.0  # the maximum return is 1000


def observations_of_an_episode(model: TD3, env: gym.Env, seed: int) -> np.ndarray:
    """Return the observations of one greedy episode, ``[steps, obs_dim]``."""
    observation, _ = env.reset(seed=seed)
    observations, done = [], False
    while not done:
        observations.append(observation)
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
    return np.stack(observations)


def main() -> None:
    """Train, draw, save and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="budget of environment steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the model and the figure")
    args = parser.parse_args()
    th.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

    env, eval_env = gym.make(ENV), Monitor(gym.make(ENV))
    noise = NormalActionNoise(np.zeros(1), 0.5 * np.ones(1))
    # The policy has its defaults. Rewards are uninformative at first, so five-step returns and small batches speed up
    # TD3 here, with ANN actors too.
    model = TD3(
        "PopSANPolicy", env, learning_starts=1_000, batch_size=64, n_steps=5, action_noise=noise, seed=args.seed
    )
    eval_env.reset(seed=args.seed)
    untrained, _ = evaluate_policy(model, eval_env, n_eval_episodes=10)

    print(f"Training TD3('PopSANPolicy', '{ENV}') until it balances; {args.steps} steps at most.")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as log:
        balanced = StopTrainingOnRewardThreshold(BALANCED, verbose=0)
        evaluation = EvalCallback(
            eval_env,
            callback_on_new_best=balanced,
            eval_freq=1_000,
            n_eval_episodes=5,
            log_path=log,
            best_model_save_path=log,
            verbose=0,
        )
        model.learn(args.steps, callback=evaluation, progress_bar=True)
        model.set_parameters(f"{log}/best_model")
        curve = np.load(Path(log) / "evaluations.npz")
        timesteps, returns = curve["timesteps"], curve["results"]
    seconds = time.perf_counter() - start

    trained, trained_std = evaluate_policy(model, eval_env, n_eval_episodes=10)
    policy = model.policy
    assert isinstance(policy, PopSANPolicy)
    features = policy.spiking_features(th.as_tensor(observations_of_an_episode(model, gym.make(ENV), args.seed)))
    recording = policy.spiking_network.record(features)
    cost = cost_of(recording)

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    args.out.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.0, 5.0), layout="constrained")
    plot_learning_curve(timesteps, returns, left).set_title(f"TD3 with PopSANPolicy on {ENV}")
    plot_spike_raster(recording, right, decision=len(features) // 2)
    figure.savefig(args.out / "popsan.png", dpi=120)
    model.save(args.out / "popsan")

    print()
    print(f"untrained spiking agent   return {untrained:7.1f}")
    print(f"trained spiking agent     return {trained:7.1f} +- {trained_std:.1f}   (10 episodes, at most 1000)")
    print(f"training                  {model.num_timesteps} steps in {seconds:.0f} s")
    print(f"model and picture         {args.out / 'popsan.zip'}, {args.out / 'popsan.png'}")
    print(f"\nOne decision costs, beside an MlpPolicy with the same hidden layers (ordinary ANN):\n\n{cost}")


if __name__ == "__main__":
    main()
