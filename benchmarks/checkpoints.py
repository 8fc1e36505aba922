"""
Checkpoints of training runs: saved after each evaluation, continued from there after an interruption.

A checkpoint has the model with its optimisers, the replay buffer, the random states, the evaluations and the time
spent. An environment cannot be saved within an episode: a continued run begins a new one, and its record has the steps
at which it did.
"""

import pickle
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

EVALUATIONS = ("evaluations_timesteps", "evaluations_results", "evaluations_length")


class Checkpoints(BaseCallback):
    """
    Save a run between two rollouts, once it has been evaluated again.

    :param folder: folder of this run alone
    :param evaluation: callback that evaluates, with a ``log_path``, before this one in the list
    """

    def __init__(self, folder: Path, evaluation: EvalCallback) -> None:
        super().__init__()
        self.folder = folder
        self.evaluation = evaluation
        self.resumed_at: list[int] = []
        self._spent = np.zeros(2)
        self._started = _clocks()
        self._saved = 0

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds and processor seconds of all the parts of the run."""
        seconds, cpu_seconds = self._spent + _clocks() - self._started
        return float(seconds), float(cpu_seconds)

    def load(self, algorithm: type[BaseAlgorithm], make_env: Callable[[], VecEnv]) -> BaseAlgorithm | None:
        """
        Return the saved model in a new environment, with random states and evaluations as they were.

        :param algorithm: class of the model
        :param make_env: factory of the training environments
        :return: model to be trained further with ``reset_num_timesteps=False``; None if nothing was saved
        """
        saved = sorted(path for path in self.folder.glob("[0-9]*") if not path.suffix)
        if not saved:
            return None
        folder, env = saved[-1], make_env()
        model = algorithm.load(folder / "model.zip", env, device="cpu")
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(folder / "replay_buffer.pkl")
        state = pickle.loads((folder / "state.pkl").read_bytes())
        for name in EVALUATIONS:
            setattr(self.evaluation, name, state[name])
        # Callbacks count their calls, one for each step of all the environments.
        self.evaluation.n_calls = model.num_timesteps // model.n_envs
        self._saved = len(self.evaluation.evaluations_timesteps)
        self._spent = np.array(state["spent"])
        self.resumed_at = [*state["resumed_at"], model.num_timesteps]
        if model.seed is not None:  # not the episodes of the beginning again, of training and of evaluation
            env.seed(model.seed + model.num_timesteps)
            self.evaluation.eval_env.seed(2**20 + model.seed + model.num_timesteps)
        _set_random_states(model, state["random"])
        return model

    def _on_rollout_start(self) -> None:
        if len(self.evaluation.evaluations_timesteps) > self._saved:
            self._save()

    def _on_step(self) -> bool:
        return True

    def _save(self) -> None:
        folder = self.folder / f"{self.model.num_timesteps:09d}"
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.model.save(partial / "model.zip")
        if isinstance(self.model, OffPolicyAlgorithm):
            self.model.save_replay_buffer(partial / "replay_buffer.pkl")
        state = {
            **{name: getattr(self.evaluation, name) for name in EVALUATIONS},
            "spent": self.spent,
            "resumed_at": self.resumed_at,
            "random": _random_states(self.model),
        }
        (partial / "state.pkl").write_bytes(pickle.dumps(state))
        partial.replace(folder)
        self._saved = len(self.evaluation.evaluations_timesteps)
        for older in self.folder.iterdir():
            if older != folder and older.is_dir() and older.name[0].isdigit():
                shutil.rmtree(older)


def discard(folder: Path) -> None:
    """
    Remove the checkpoints of a run that has its record.

    :param folder: folder of the run
    """
    shutil.rmtree(folder, ignore_errors=True)


def _clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def _random_states(model: BaseAlgorithm) -> dict[str, Any]:
    """Return the states of all generators that SB3 draws from."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 (SB3 draws from it)
        "torch": th.get_rng_state(),
        "actions": model.action_space.np_random.bit_generator.state,
    }


def _set_random_states(model: BaseAlgorithm, states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002 (SB3 draws from it)
    th.set_rng_state(states["torch"])
    model.action_space.np_random.bit_generator.state = states["actions"]
