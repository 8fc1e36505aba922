"""DQN with a spiking Q-network: the recipe of rl_zoo3."""

# --8<-- [start:example]
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy

import sb3_spiking  # makes the spiking policies known to SB3

model = DQN(
    "SpikingMlpPolicy",
    "CartPole-v1",
    learning_rate=2.3e-3,
    batch_size=64,
    learning_starts=1000,
    target_update_interval=10,
    train_freq=256,
    gradient_steps=128,
    exploration_fraction=0.16,
    exploration_final_eps=0.04,
    seed=0,
)
model.learn(50_000, progress_bar=True)
mean, std = evaluate_policy(model, model.get_env(), n_eval_episodes=10)
print(f"return {mean:.0f} +- {std:.0f}")
# --8<-- [end:example]
