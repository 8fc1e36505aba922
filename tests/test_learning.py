"""
Learning, proven each time, for each family of algorithms. TD3 runs the example of ``make demo``.

Bounds lie where no untrained policy comes: poles fall within some ten steps, the pendulum hangs (-1200), and a guess
finds one patch in four.
"""

import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.evaluation import evaluate_policy

import sb3_spiking  # noqa: F401 (registers the policies)

EXAMPLE = Path(__file__).parents[1] / "examples" / "inverted_pendulum.py"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`n_steps=5` is ignored")  # SB3 says so when it loads any n-step model.
def test_the_demo_balances_and_writes_what_it_says(tmp_path):
    pytest.importorskip("mujoco", reason="the demo balances a MuJoCo pendulum")
    result = subprocess.run(
        [sys.executable, str(EXAMPLE), "--out", str(tmp_path)], check=True, capture_output=True, text=True
    )
    returns = dict(re.findall(r"^(untrained|trained) spiking agent +return +([\d.]+)", result.stdout, re.MULTILINE))
    assert float(returns["untrained"]) < 100
    assert float(returns["trained"]) >= 900
    assert re.search(r"^accumulates +[\d,]+ +0 +0$", result.stdout, re.MULTILINE)
    assert re.search(r"^multiply-accumulates +0 +66,816 ", result.stdout, re.MULTILINE)  # of MlpPolicy
    assert (tmp_path / "popsan.png").read_bytes().startswith(b"\x89PNG")
    assert TD3.load(tmp_path / "popsan").policy.spiking_network.options.neuron == "cuba_lif"


def ppo():
    return PPO("PopSANPolicy", "CartPole-v1", seed=0)


def dqn():
    recipe = {"train_freq": 4, "gradient_steps": 2, "n_steps": 10, "target_update_interval": 200, "batch_size": 64}
    return DQN("PopSANPolicy", "CartPole-v1", 5e-4, learning_starts=1000, exploration_fraction=0.5, seed=0, **recipe)


def sac(**policy_kwargs):
    policy_kwargs = {"net_arch": [64, 64], **policy_kwargs}
    return SAC("PopSANPolicy", "Pendulum-v1", 1e-3, learning_starts=200, seed=0, policy_kwargs=policy_kwargs)


def sac_bfloat16():
    return sac(precision="bfloat16")


class PatchEnv(gym.Env):
    """Ten noisy pictures an episode; a point for each bright patch whose quarter of the picture is named."""

    observation_space = spaces.Box(0, 255, (1, 12, 12), np.uint8)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.picture(), {}

    def step(self, action):
        reward = float(action == self.quarter)
        self.steps += 1
        return self.picture(), reward, False, self.steps >= 10, {}

    def picture(self):
        self.quarter = int(self.np_random.integers(4))
        picture = self.np_random.integers(0, 100, (1, 12, 12), dtype=np.uint8)
        row, column = self.np_random.integers(0, 4, 2) + 6 * np.array(divmod(self.quarter, 2))
        picture[0, row : row + 3, column : column + 3] = 255
        return picture


def ppo_images():
    return PPO("SpikingCnnPolicy", PatchEnv(), 1e-3, n_steps=256, seed=0)


def dqn_images():
    recipe = {"learning_starts": 200, "train_freq": 2, "gamma": 0.0, "exploration_fraction": 0.5}
    return DQN("SpikingCnnPolicy", PatchEnv(), 1e-3, seed=0, **recipe)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "steps", "bound"),
    [
        (ppo, 12_000, 100),
        (dqn, 6000, 100),
        (sac, 3000, -800),
        (sac_bfloat16, 3000, -800),
        (ppo_images, 3072, 8),
        (dqn_images, 1500, 8),
    ],
)
def test_each_family_learns(make, steps, bound):
    model = make()
    untrained, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=10)
    model.learn(steps)
    trained, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=10)
    assert untrained < bound < trained
