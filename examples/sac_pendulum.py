"""SAC with a spiking mean: swing up a pendulum and balance it."""

# --8<-- [start:example]
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy

import sb3_spiking  # makes the spiking policies known to SB3

th.set_num_threads(1)  # the networks are small: several threads would wait for each other

model = SAC("PopSANPolicy", "Pendulum-v1", seed=0)
model.learn(10_000, progress_bar=True)
mean, std = evaluate_policy(model, model.get_env(), n_eval_episodes=10)
print(f"return {mean:.0f} +- {std:.0f}")
# --8<-- [end:example]
