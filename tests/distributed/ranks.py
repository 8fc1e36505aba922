"""
What two ranks do for the tests, started by torchrun: ``ranks.py <task> <folder>``.

Each rank writes ``<task><rank>.json`` into the folder.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import gymnasium as gym
import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.utils._pytree import tree_flatten

from sb3_spiking.distributed import DataParallelCallback
from sb3_spiking.optimizers.gradient_hooks import optimizers
from tests.distributed.batches import MODELS, OTHERS, learn_from, make, make_plain, parameters

STEPS = 1000


def digest(model):
    """Return a hash of every bit of the parameters, buffers and optimisers."""
    optimizer_states = [list(optimizer.state_dict()["state"].values()) for optimizer in optimizers(model).values()]
    variables = [getattr(model, name) for name in model._get_torch_save_params()[1]]
    tensors, _ = tree_flatten([list(model.policy.state_dict().values()), optimizer_states, variables])
    assert all(isinstance(tensor, th.Tensor) for tensor in tensors)
    return hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()


def one_step(folder):
    """Make one gradient step with half of a batch; the tests make it with all of it."""
    result = {}
    for name in MODELS:
        model = make_plain(name)
        parallel = DataParallelCallback()
        # Everything but the steps in the environment.
        model._total_timesteps = 0
        parallel.init_callback(model)
        parallel.on_training_start({"total_timesteps": 0, "callback": parallel}, {})
        learn_from(model, half=parallel.rank)
        parallel.on_training_end()
        result[name] = parameters(model)
    return result


def train(folder):
    """Train for a while, each rank in environments of its own."""
    result = {}
    for name in [*MODELS, *OTHERS]:
        parallel = DataParallelCallback()
        model = make(name, seed=3 + parallel.rank)  # the first rank's parameters and seed count
        seen = Observations()
        model.learn(STEPS if name in MODELS else 300, [parallel, seen])
        result[name] = {
            "digest": digest(model),
            "timesteps": model.num_timesteps,
            "updates": model._n_updates,
            "first_observation": seen.first,
            "episodes": sorted(float(episode["r"]) for episode in model.ep_info_buffer),
        }
    return result


class Observations(BaseCallback):
    """Remembers where the training began, which depends on the seed of the environments."""

    first = None

    def _on_step(self):
        if self.first is None:
            self.first = self.locals["new_obs"].tolist()
        return True


class StopAt(BaseCallback):
    """Ends the training, as an evaluation does that is satisfied."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def _on_step(self):
        return self.num_timesteps < self.steps


def stop_early(folder):
    """Have the first rank's own callback end the training."""
    result = {}
    for name in ("TD3", "PPO"):
        model = make(name, seed=0)
        parallel = DataParallelCallback(rank_zero=StopAt(400))
        model.learn(STEPS, parallel)
        result[name] = {"timesteps": model.num_timesteps, "digest": digest(model)}
    return result


class Faulty(gym.Wrapper):
    """An environment in which the second rank stops answering, one way or the other."""

    steps = 0

    def step(self, action):
        self.steps += 1
        if os.environ["RANK"] == "1" and self.steps == 150:
            if sys.argv[1] == "killed":
                os.kill(os.getpid(), 9)
            time.sleep(600)
        return super().step(action)


def fault(folder):
    """Train until the second rank stops answering."""
    parallel = DataParallelCallback(checkpoint=Path(folder) / "model", checkpoint_every=100, timeout=10.0)
    env = DummyVecEnv([lambda: Faulty(gym.make("Pendulum-v1"))])
    model = TD3("PopSANPolicy", env, learning_starts=50, batch_size=16, seed=0, policy_kwargs={"net_arch": [16]})
    model.learn(STEPS, parallel)
    return {}


def resume(folder):
    """Go on where the fault was."""
    parallel = DataParallelCallback()
    model = TD3.load(Path(folder) / "model", gym.make("Pendulum-v1"))
    before = model.num_timesteps
    model.learn(STEPS - before, parallel, reset_num_timesteps=False)
    return {"before": before, "after": model.num_timesteps, "digest": digest(model)}


UNEQUAL = {
    "batch_size": lambda rank: make("TD3", 0, batch_size=64 * (1 + rank)),
    "time_steps": lambda rank: make("TD3", 0, policy_kwargs={"time_steps": 5 + rank}),
    "threshold": lambda rank: make("TD3", 0, policy_kwargs={"neuron_kwargs": {"threshold": 0.5 + rank}}),
    "clip_range": lambda rank: make("PPO", 0, clip_range=lambda progress: 0.2 * progress ** (1 + rank)),
    "environment": lambda rank: TD3("MlpPolicy", gym.make("Pendulum-v1", g=9.81 + rank), buffer_size=100),
    "refused": lambda rank: make("PPO", 0, target_kl=0.01 if rank else None),
}


def unequal(folder):
    """Differ in one setting after the other."""
    return {name: refusal(make_model) for name, make_model in UNEQUAL.items()}


def refusal(make_model):
    """Return what is said to a model for which training is refused."""
    parallel = DataParallelCallback()
    model = make_model(parallel.rank)
    try:
        model.learn(10, parallel)
    except ValueError as error:
        return str(error)
    return ""


class FasterOnOne(BaseCallback):
    """Changes the learning rate of one rank only."""

    def _on_step(self):
        self.model.lr_schedule = lambda _: 1e-2 * (1 + int(os.environ["RANK"]))
        return True


def drifting(folder):
    """Let the networks of the ranks drift apart, where nothing can be seen before the first step."""
    model = make("PPO", seed=0)
    try:
        model.learn(3000, [DataParallelCallback(), FasterOnOne()])
    except RuntimeError as error:
        return {"error": str(error)}
    return {}


TASKS = {
    "one_step": one_step,
    "train": train,
    "stop_early": stop_early,
    "killed": fault,
    "hanging": fault,
    "resume": resume,
    "unequal": unequal,
    "drifting": drifting,
}

if __name__ == "__main__":
    th.set_num_threads(1)
    *tasks, folder = sys.argv[1:]
    for task in tasks:
        result = TASKS[task](folder)
        Path(folder, f"{task}{os.environ['RANK']}.json").write_text(json.dumps(result))
