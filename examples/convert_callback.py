"""Convert a DQN during training and keep the best spiking network."""

# --8<-- [start:example]
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule

from sb3_spiking.conversion import ConversionCallback, SpikingQPolicy

th.set_num_threads(1)  # the networks are small: several threads would wait for each other

model = DQN(
    "MlpPolicy",
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
    policy_kwargs={"net_arch": [256, 256]},
    seed=0,
)
eval_env = make_vec_env("CartPole-v1", n_envs=5)
callback = ConversionCallback(eval_env, eval_freq=5000, best_model_save_path="cartpole")
model.learn(50_000, callback=callback, progress_bar=True)
snn = SpikingQPolicy.load("cartpole/best_snn.zip")
mean, std = evaluate_policy(snn, eval_env, n_eval_episodes=20)
print(f"return {mean:.0f} +- {std:.0f}")
# --8<-- [end:example]
