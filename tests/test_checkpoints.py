"""Long benchmark runs survive an interruption: what comes after it is the rest of the same run."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.save_util import load_from_zip_file

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are in the repository alone")


class OneStep(gym.Env):
    """Episodes of one step, all alike: an interruption costs no episode, so that runs can be compared bit by bit."""

    observation_space = spaces.Box(-1, 1, (3,))
    action_space = spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([0.5, -0.5, 0.1], np.float32), {}

    def step(self, action):
        return np.zeros(3, np.float32), -float(np.square(action - 0.3).sum()), True, False, {}


class KilledError(Exception):
    pass


def train(task, folder, monkeypatch, killed_at=()):
    """Return the record and the parameters of a run that is killed at some steps and started again each time."""
    import learning
    from checkpoints import Checkpoints

    for step in killed_at:

        def die(callback, step=step):
            if callback.num_timesteps == step:
                raise KilledError
            return True

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_on_step", die)
            with pytest.raises(KilledError):
                learning.train(task, task.agents["popsan"], 0, folder / "run")
        th.manual_seed(99)  # another process has other random states
        np.random.seed(99)  # noqa: NPY002 (SB3 draws from it)
    record = learning.train(task, task.agents["popsan"], 0, folder / "run", folder / "model.zip")
    assert (folder / "run").is_dir()  # until its record is written
    _, parameters, _ = load_from_zip_file(folder / "model.zip")
    return record, parameters["policy"]


@pytest.mark.parametrize(
    ("algorithm", "arguments", "noise"),
    [
        ("PPO", {"n_steps": 50, "batch_size": 25, "n_epochs": 2}, 0.0),
        ("TD3", {"learning_starts": 150, "buffer_size": 400, "batch_size": 8}, 0.1),
    ],
)
def test_a_continued_run_is_the_uninterrupted_one(algorithm, arguments, noise, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setitem(gym.registry, "OneStep-v0", gym.envs.registration.EnvSpec("OneStep-v0", OneStep))
    from learning_tasks import POPSAN, Task

    task = Task(
        algorithm, "OneStep-v0", 400, {"popsan": POPSAN}, arguments, noise=noise, evaluations=4, eval_episodes=2
    )
    whole, expected = train(task, tmp_path / "whole", monkeypatch)
    # Once among the random actions with which TD3 begins, once among its gradient steps.
    continued, parameters = train(task, tmp_path / "continued", monkeypatch, killed_at=(120, 290))
    assert whole["resumed_at"] == []
    assert continued["resumed_at"] == [100, 200]
    assert continued["timesteps"] == whole["timesteps"] == [100, 200, 300, 400]
    assert continued["returns"] == whole["returns"]
    assert len(set(whole["returns"])) > 1
    assert parameters.keys() == expected.keys()
    assert [name for name, value in expected.items() if not th.equal(value, parameters[name])] == []
