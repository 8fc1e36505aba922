"""
Learning curves: train one agent on one task with one seed and record its evaluations.

The runs behind docs/results.md, one process and one thread each:

    OMP_NUM_THREADS=1 python benchmarks/learning.py td3-halfcheetah --agent popsan --seed 0

All agents of a task have the same arguments of the algorithm. The agents are

* ``popsan``, ``spiking-cnn``: the spiking policies with their defaults; ``...-corrected`` with common-mode correction,
* ``mlp``, ``cnn``: SB3's own policies (the CNN with the geometry of the spiking one),
* ``mlp-normalized``, ``cnn-normalized``: the same with the normalisation of the spiking policies (of observations and
  of the layers' currents), so that effects of normalisation are not credited to spikes.

All runs of a task (or of all tasks) without a record, two at a time:

    python benchmarks/learning.py td3-halfcheetah --missing | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python

``--summary`` prints the Markdown tables of the recorded runs, ``--figure`` draws their curves.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch as th
import yaml  # type: ignore[import-untyped]
from gymnasium import spaces
from provenance import provenance
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

import sb3_spiking
from sb3_spiking.distributed import DataParallelCallback
from sb3_spiking.policies import ConvExtractor, RunningNormExtractor
from sb3_spiking.snn.current_norm import CurrentNorm
from sb3_spiking.zoo import FILES

SEEDS = (0, 1, 2)
FRESH_SEEDS = (11, 12, 13)  # for hyperparameters that were tuned on the others
RECORDS = records.DATA / "learning"


@dataclass(frozen=True)
class Agent:
    """
    A policy and its arguments.

    :param policy: alias of the policy
    :param policy_kwargs: arguments of the policy
    """

    policy: str
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)


POPSAN = Agent("PopSANPolicy")
SPIKING_CNN = Agent("SpikingCnnPolicy")
CORRECTED = {"common_mode_correction": True}


class LayerNormExtractor(ConvExtractor):
    """
    ANN torso with the normalisation of the spiking layers before each ReLU.

    :param observation_space: space of the images
    :param kwargs: arguments of ``ConvExtractor``
    """

    def __init__(self, observation_space: spaces.Space, **kwargs: Any) -> None:
        super().__init__(observation_space, **kwargs)
        for branch in self.torso.branches:
            assert isinstance(branch, nn.Sequential)
            # From the end, so that insertions do not move the remaining modules.
            for index, module in reversed(list(enumerate(branch))):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    branch.insert(index + 1, CurrentNorm(len(module.weight), threshold=1.0))


MLP = Agent("MlpPolicy")
MLP_NORMALIZED = Agent("MlpPolicy", {"features_extractor_class": RunningNormExtractor})
CNN = Agent("CnnPolicy", {"features_extractor_class": ConvExtractor, "net_arch": []})
CNN_NORMALIZED = Agent("CnnPolicy", {"features_extractor_class": LayerNormExtractor, "net_arch": []})


@dataclass(frozen=True)
class Task:
    """
    Learning task.

    :param algorithm: name of the algorithm
    :param env: id of the environment, ``"minatar-<game>"`` for MinAtar
    :param steps: budget of environment steps
    :param agents: compared agents, the spiking ones first
    :param arguments: arguments of the algorithm, the same for all agents
    :param policy_kwargs: arguments of the policies, the same for all agents
    :param n_envs: number of parallel environments
    :param noise: standard deviation of the action noise
    :param eval_episodes: episodes of each of the ten evaluations
    :param seeds: seeds of the runs
    :param ranks: number of data-parallel processes, started by ``torchrun --nproc-per-node``
    """

    algorithm: str
    env: str
    steps: int
    agents: Mapping[str, Agent]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)
    n_envs: int = 1
    noise: float = 0.0
    eval_episodes: int = 10
    seeds: tuple[int, ...] = SEEDS
    ranks: int = 1


CONTROL = {"popsan": POPSAN, "mlp": MLP, "mlp-normalized": MLP_NORMALIZED}
VECTORS = {"popsan": POPSAN, "mlp": MLP}
VECTOR_VALUES = {"popsan": POPSAN, "popsan-corrected": Agent("PopSANPolicy", CORRECTED), "mlp": MLP}
IMAGES = {"spiking-cnn": SPIKING_CNN, "cnn": CNN, "cnn-normalized": CNN_NORMALIZED}
IMAGE_VALUES = {**IMAGES, "spiking-cnn-corrected": Agent("SpikingCnnPolicy", CORRECTED)}

LABELS = {
    "popsan": "PopSANPolicy",
    "popsan-corrected": "PopSANPolicy, common-mode correction",
    "mlp": "MlpPolicy",
    "mlp-normalized": "MlpPolicy, observations normalised",
    "spiking-cnn": "SpikingCnnPolicy",
    "spiking-cnn-corrected": "SpikingCnnPolicy, common-mode correction",
    "cnn": "CnnPolicy",
    "cnn-normalized": "CnnPolicy, layers normalised",
}
"""Labels of the agents in tables and figures."""

ZOO_ONLY = ("policy", "policy_kwargs", "n_timesteps", "n_envs", "env_wrapper")
"""Hyperparameters of rl_zoo3 that are no arguments of the algorithm."""


def packaged_arguments(algorithm: str, env: str) -> dict[str, Any]:
    """
    Return an algorithm's arguments out of the packaged hyperparameters.

    :param algorithm: name of the algorithm, lower case
    :param env: id of the environment in the packaged file
    :return: arguments, with rl_zoo3's linear schedules as SB3's
    """
    found: dict[str, Any] = yaml.safe_load(FILES[algorithm].read_text())[env]
    arguments = {name: value for name, value in found.items() if name not in ZOO_ONLY}
    rate = arguments["learning_rate"]
    if isinstance(rate, str):
        arguments["learning_rate"] = LinearSchedule(float(rate.removeprefix("lin_")), 0.0, 1.0)
    return arguments


# Tuned by hand on seed 0, more on the spiking agent than on the ANN; see docs/results.md.
DQN_CARTPOLE = packaged_arguments("dqn", "CartPole-v1")
# The better of two learning rates on seed 100, for the spiking agent as for the ANN.
PPO_MINATAR = packaged_arguments("ppo", "MinAtar/Breakout-v1")
DQN_MINATAR = packaged_arguments("dqn", "MinAtar/Breakout-v1")

TASKS = {
    "td3-halfcheetah": Task(
        "TD3", "HalfCheetah-v5", 100_000, CONTROL, {"learning_starts": 10_000}, noise=0.1, eval_episodes=5
    ),
    "td3-doublependulum-2-ranks": Task(
        "TD3",
        "InvertedDoublePendulum-v5",
        50_000,
        {"popsan": POPSAN},
        {"learning_starts": 10_000},
        noise=0.1,
        eval_episodes=5,
        ranks=2,
    ),
    "td3-doublependulum": Task(
        "TD3", "InvertedDoublePendulum-v5", 50_000, CONTROL, {"learning_starts": 10_000}, noise=0.1, eval_episodes=5
    ),
    "sac-pendulum": Task("SAC", "Pendulum-v1", 10_000, VECTORS),
    "tqc-pendulum": Task("TQC", "Pendulum-v1", 10_000, VECTORS),
    "ppo-pendulum": Task("PPO", "InvertedPendulum-v5", 100_000, VECTORS),
    "ppo-cartpole": Task("PPO", "CartPole-v1", 100_000, VECTORS),
    "a2c-cartpole": Task("A2C", "CartPole-v1", 100_000, VECTORS, n_envs=8),
    "trpo-cartpole": Task("TRPO", "CartPole-v1", 100_000, VECTORS),
    "dqn-cartpole": Task(
        "DQN", "CartPole-v1", 50_000, VECTOR_VALUES, DQN_CARTPOLE, {"net_arch": [256, 256]}, seeds=FRESH_SEEDS
    ),
    "qrdqn-cartpole": Task(
        "QRDQN",
        "CartPole-v1",
        50_000,
        VECTORS,
        DQN_CARTPOLE,
        {"net_arch": [256, 256], "n_quantiles": 10},
        seeds=FRESH_SEEDS,
    ),
    "ppo-minatar-breakout": Task("PPO", "minatar-breakout", 1_000_000, IMAGES, PPO_MINATAR, n_envs=8, eval_episodes=30),
    "dqn-minatar-breakout": Task("DQN", "minatar-breakout", 200_000, IMAGE_VALUES, DQN_MINATAR, eval_episodes=30),
}


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """Return the class of an algorithm of SB3 or sb3-contrib."""
    own: dict[str, type[BaseAlgorithm]] = {cls.__name__: cls for cls in (A2C, DQN, PPO, SAC, TD3)}
    if name in own:
        return own[name]
    import sb3_contrib

    return getattr(sb3_contrib, name)


def make_env(task: Task, n_envs: int, seed: int) -> VecEnv:
    """Return monitored environments."""
    if task.env.startswith("minatar-"):
        return sb3_spiking.make_minatar_env(task.env.removeprefix("minatar-"), n_envs, seed)
    return make_vec_env(task.env, n_envs, seed)


def make_model(task: Task, agent: Agent, seed: int) -> BaseAlgorithm:
    """Return an untrained agent with the task's arguments."""
    env = make_env(task, task.n_envs, seed)
    arguments = dict(task.arguments)
    if task.noise > 0:
        shape = env.action_space.shape
        arguments["action_noise"] = NormalActionNoise(np.zeros(shape), task.noise * np.ones(shape))
    policy_kwargs = {**task.policy_kwargs, **agent.policy_kwargs}
    return algorithm_class(task.algorithm)(
        agent.policy, env, seed=seed, policy_kwargs=policy_kwargs, device="cpu", **arguments
    )


def train(task: Task, agent: Agent, seed: int, save: Path | None = None) -> dict[str, Any] | None:
    """Train and return the record of the run: curve, duration and provenance; None on all ranks but the first."""
    model = make_model(task, agent, seed)
    with tempfile.TemporaryDirectory() as folder:
        callback: BaseCallback = EvalCallback(
            make_env(task, 1, 10_000 + seed),
            eval_freq=max(task.steps // 10 // task.n_envs // task.ranks, 1),
            n_eval_episodes=task.eval_episodes,
            log_path=folder,
            verbose=0,
        )
        if task.ranks > 1:
            callback = DataParallelCallback(rank_zero=callback)
        start, cpu_start = time.perf_counter(), time.process_time()
        model.learn(task.steps, callback=callback)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        if isinstance(callback, DataParallelCallback) and not callback.is_main:
            return None
        curve = np.load(Path(folder) / "evaluations.npz")
        timesteps, returns = curve["timesteps"].tolist(), curve["results"].mean(axis=1).tolist()
    if save is not None:
        model.save(save)
    return {
        "timesteps": timesteps,
        "returns": returns,
        "eval_episodes": task.eval_episodes,
        "seconds": round(seconds),
        "cpu_seconds": round(cpu_seconds),
        **provenance(),
    }


def record_path(task: str, agent: str, seed: int) -> Path:
    """Return the path of a run's record."""
    return RECORDS / f"{task}-{agent}-seed{seed}.json"


def recorded_runs(task: str, agent: str) -> list[dict[str, Any]]:
    """Return the recorded runs of an agent in the order of their seeds."""
    found = [records.read(record_path(task, agent, seed)) for seed in TASKS[task].seeds]
    return [record for record in found if record]


def missing(tasks: Mapping[str, Task]) -> list[str]:
    """Return the command lines of the runs without a record, after ``python``."""
    return [
        f"{torchrun(task)}{__file__} {name} --agent {agent} --seed {seed}"
        for name, task in tasks.items()
        for agent in task.agents
        for seed in task.seeds
        if not record_path(name, agent, seed).exists()
    ]


def torchrun(task: Task) -> str:
    """Return the arguments between ``python`` and the script that start several processes."""
    return f"-m torch.distributed.run --standalone --nproc-per-node {task.ranks} " if task.ranks > 1 else ""


def summary(tasks: Mapping[str, Task]) -> str:
    """Return Markdown tables of final returns, mean and standard deviation over the seeds: all tasks, then each."""
    rows = [[title(task), *_finals(name, task)] for name, task in tasks.items() if task.ranks == 1]
    lines = records.table(["task", "spiking", "ANN", "ANN, normalised"], rows)
    return "\n".join([*lines, *(line for name, task in tasks.items() for line in _table(name, task))])


def title(task: Task) -> str:
    """Return the title of a task in tables and figures."""
    game = task.env.removeprefix("minatar-")
    env = task.env if game == task.env else f"MinAtar {game.capitalize()}"
    ranks = f", {task.ranks} ranks" if task.ranks > 1 else ""
    return f"{task.algorithm}, {env}, {task.steps:,} steps{ranks}"


def _finals(name: str, task: Task) -> list[str]:
    """Return the final returns of the spiking agent, the ANN and the normalised ANN; empty cells for missing agents."""
    columns = (("popsan", "spiking-cnn"), ("mlp", "cnn"), ("mlp-normalized", "cnn-normalized"))
    finals = [[run["returns"][-1] for agent in agents for run in recorded_runs(name, agent)] for agents in columns]
    return [_spread(np.array(final)) if final else "" for final in finals]


def _table(name: str, task: Task) -> list[str]:
    """Return the table of a task, a row for each agent."""
    rows = []
    for agent in task.agents:
        runs = recorded_runs(name, agent)
        if runs:
            last = np.array([run["returns"][-1] for run in runs])
            best = np.array([max(run["returns"]) for run in runs])
            minutes = np.mean([run["cpu_seconds"] for run in runs]) / 60
            some = "" if len(runs) == len(task.seeds) else f" ({len(runs)} of {len(task.seeds)} seeds)"
            cells = [LABELS[agent], _spread(last) + some, ", ".join(map(_score, last)), _spread(best)]
            rows.append([*cells, f"{minutes:.0f}"])
    heading = ["agent", "last evaluation", "each seed", "best", "CPU minutes"]
    return [f"\n**{title(task)}**\n", *records.table(heading, rows)]


def _spread(values: np.ndarray) -> str:
    return f"{_score(values.mean())} ± {_score(values.std())}"


def _score(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def draw(tasks: Mapping[str, Task], path: Path) -> None:
    """Draw the learning curves of all agents, a panel for each task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sb3_spiking.plotting import plot_learning_curve

    figure, axes = plt.subplots(1, len(tasks), figsize=(5.5 * len(tasks), 4.2), layout="constrained", squeeze=False)
    for ax, (name, task) in zip(axes[0], tasks.items(), strict=True):
        for agent in task.agents:
            runs = recorded_runs(name, agent)
            if runs:
                returns = np.array([run["returns"] for run in runs]).T
                label = f"{LABELS[agent]} ({len(runs)} seeds)"
                plot_learning_curve(runs[0]["timesteps"], returns.tolist(), ax, label)
        ax.set_title(title(task))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="task", help=f"{', '.join(TASKS)}; all of them if none is named")
    parser.add_argument("--agent", help="agent to train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="file for the trained agent, for example to convert it")
    parser.add_argument("--missing", action="store_true", help="print the arguments of the runs still to do and stop")
    parser.add_argument("--summary", action="store_true", help="print the table of the records and stop")
    parser.add_argument("--figure", type=Path, help="draw the curves of the records into this file and stop")
    args = parser.parse_args()
    unknown = [name for name in args.tasks if name not in TASKS]
    if unknown:
        parser.error(f"unknown task {', '.join(unknown)}; choose from {', '.join(TASKS)}")
    tasks = {name: TASKS[name] for name in args.tasks or TASKS}
    if args.missing:
        print("\n".join(missing(tasks)))
    elif args.summary:
        print(summary(tasks))
    elif args.figure:
        draw(tasks, args.figure)
    else:
        agents = {agent for task in tasks.values() for agent in task.agents}
        if len(tasks) != 1 or args.agent not in agents:
            parser.error(f"to train, name one task and --agent, one of: {', '.join(sorted(agents))}")
        (name, task) = next(iter(tasks.items()))
        th.set_num_threads(1)
        run = train(task, task.agents[args.agent], args.seed, args.save)
        if run is None:
            return
        record = {"task": name, "agent": args.agent, "seed": args.seed, **run}
        path = record_path(name, args.agent, args.seed)
        records.write(path, record)
        print(path, f"last {record['returns'][-1]:.0f}, best {max(record['returns']):.0f}, {record['seconds']} s")


if __name__ == "__main__":
    main()
