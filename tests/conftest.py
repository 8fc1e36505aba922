"""Fixtures of all the tests: one thread and seed, a small environment, small agents, short trainings."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from filelock import FileLock
from spikingjelly.activation_based.base import MemoryModule
from stable_baselines3 import TD3
from stable_baselines3.common import evaluation

from sb3_spiking import SpikeMonitorCallback
from sb3_spiking.policies.registry import ALGORITHMS
from sb3_spiking.snn import SpikingNetwork
from tests.envs import DictEnv, ImageEnv, TargetEnv

if not th.cuda.is_available():
    # Triton looks at it where a kernel is defined: those for GPUs then run on the CPU, one program after the other.
    os.environ["TRITON_INTERPRET"] = "1"


ROOT = Path(__file__).parents[1]


FAMILIES = ("TD3", "SAC", "PPO", "DQN")
"""One algorithm of each: deterministic and stochastic off-policy actors, on-policy actors, value networks."""


def pytest_collection_modifyitems(items):
    """Mark twins; put the slow tests first, so that processes that share the tests end together."""
    for item in items:
        cell = item.callspec.params.get("cell") if hasattr(item, "callspec") else None
        if cell is not None and cell.name not in FAMILIES:
            item.add_marker("twin")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class Logged(SpikeMonitorCallback):
    """Keeps what the logger would forget at its next dump."""

    def _measure(self):
        super()._measure()
        self.values = {key: value for key, value in self.logger.name_to_value.items() if key.startswith("spikes/")}


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    """Make every test repeatable, alone or in any order."""
    th.set_num_threads(1)
    th.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (SB3 draws from it)


@pytest.fixture
def env():
    """Return the small environment."""
    return TargetEnv()


@pytest.fixture
def images_and_dicts():
    """Register them while a test runs."""
    gym.register("TestImage-v0", ImageEnv)
    gym.register("TestDict-v0", DictEnv)
    yield
    del gym.registry["TestImage-v0"], gym.registry["TestDict-v0"]


def popsan(obs_dim, action_dim, net_arch=(256, 256), options=None):
    """Return the published actor network."""
    return SpikingNetwork(obs_dim, action_dim, net_arch, options, th.nn.Tanh())


def small_model(env, algorithm=TD3, policy="PopSANPolicy", policy_kwargs=None, **kwargs):
    """Return an untrained agent with a small network."""
    policy_kwargs = {"net_arch": [16, 16], **(policy_kwargs or {})}
    settings = {"learning_starts": 20, "batch_size": 16, "buffer_size": 1000, "seed": 0, "device": "cpu"}
    return algorithm(policy, env, policy_kwargs=policy_kwargs, **{**settings, **kwargs})


def spiking_modules(network):
    """Return the modules of a network that have a state."""
    return [module for module in network.modules() if isinstance(module, MemoryModule)]


@pytest.fixture
def trained(env):
    """Return an agent right after gradient steps."""
    return small_model(env).learn(60)


@dataclass(frozen=True)
class Site:
    """A built site: its folder, and how ``mkdocs`` ended."""

    folder: Path
    code: int
    printed: str


def build_site(source, folder):
    """Build a site as ``make docs`` does."""
    (flags,) = re.findall(r"mkdocs build (.*)", (ROOT / "Makefile").read_text())
    command = [sys.executable, "-m", "mkdocs", "build", *flags.split(), "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    return Site(folder, done.returncode, done.stdout + done.stderr)


def once(tmp_path_factory, name, make):
    """Return a folder that ``make`` fills, once for all the processes that share the tests."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Return the documentation, built once."""
    pytest.importorskip("mkdocs", reason="mkdocs is an extra")

    def make(folder):
        built = build_site(ROOT, folder / "site")
        (folder / "ended.json").write_text(json.dumps([built.code, built.printed]))

    folder = once(tmp_path_factory, "documentation", make)
    return Site(folder / "site", *json.loads((folder / "ended.json").read_text()))


@pytest.fixture
def short_training(monkeypatch):
    """Let training end after 150 steps and evaluations after one episode, without progress bars."""

    def shortened(learn):
        def short(self, total_timesteps, callback=None, progress_bar=False, **kwargs):
            if hasattr(callback, "eval_freq"):  # its best model is there after the training
                callback.eval_freq = 50
            return learn(self, min(total_timesteps, 150), callback, **kwargs)

        return short

    for algorithm in ALGORITHMS:
        monkeypatch.setattr(algorithm, "learn", shortened(algorithm.learn))
    evaluate = evaluation.evaluate_policy
    monkeypatch.setattr(evaluation, "evaluate_policy", lambda model, env, *args, **kwargs: evaluate(model, env, 1))
