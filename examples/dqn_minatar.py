"""
DQN with spiking convolutions on a MinAtar game.

MinAtar is an extra: pip install -e ".[minatar]"
"""

# --8<-- [start:example]
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy

import sb3_spiking

th.set_num_threads(1)  # the network is small: several threads would wait for each other

env = sb3_spiking.make_minatar_env("breakout", seed=0)
model = DQN(
    "SpikingCnnPolicy",
    env,
    learning_rate=2.5e-4,
    buffer_size=100_000,
    learning_starts=5000,
    target_update_interval=1000,
    exploration_fraction=0.2,
    seed=0,
)
model.learn(500_000, progress_bar=True)
mean, std = evaluate_policy(model, sb3_spiking.make_minatar_env("breakout", seed=1), n_eval_episodes=30)
print(f"return {mean:.1f} +- {std:.1f}")
# --8<-- [end:example]
