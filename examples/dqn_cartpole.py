"""DQN with a spiking Q-network and ten-step returns: balance a pole."""

# --8<-- [start:example]
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule

import sb3_spiking  # makes the spiking policies known to SB3

th.set_num_threads(1)  # the networks are small: several threads would wait for each other

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
# The return of a DQN rises and falls while it learns: keep the best of several evaluations.
eval_env = make_vec_env("CartPole-v1", n_envs=5)
evaluation = EvalCallback(eval_env, eval_freq=2_500, n_eval_episodes=10, best_model_save_path="dqn_cartpole", verbose=0)
model.learn(50_000, callback=evaluation, progress_bar=True)
model.set_parameters("dqn_cartpole/best_model")
mean, std = evaluate_policy(model, eval_env, n_eval_episodes=20)
print(f"return {mean:.0f} +- {std:.0f}")
# --8<-- [end:example]
