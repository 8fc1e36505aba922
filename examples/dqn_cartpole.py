"""DQN with a spiking Q-network: balance a pole, with ten-step returns."""

# --8<-- [start:example]
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule

import sb3_spiking  # makes the spiking policies known to SB3

model = DQN(
    "PopSANPolicy",
    "CartPole-v1",
    learning_rate=LinearSchedule(5e-4, 0.0, 1.0),
    batch_size=64,
    learning_starts=1000,
    target_update_interval=200,
    train_freq=4,
    gradient_steps=2,
    n_steps=10,
    exploration_fraction=0.16,
    exploration_final_eps=0.04,
    seed=0,
)
model.learn(50_000, progress_bar=True)
mean, std = evaluate_policy(model, model.get_env(), n_eval_episodes=10)
print(f"return {mean:.0f} +- {std:.0f}")
# --8<-- [end:example]
