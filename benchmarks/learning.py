"""Learning evidence: train one agent on one task with one seed and record its curve.

The runs behind docs/results.md, one process and one thread each:

    OMP_NUM_THREADS=1 python benchmarks/learning.py td3-halfcheetah --agent popsan --seed 0

Every agent of a task gets the same algorithm arguments. The agents are

* ``popsan``, ``spiking-cnn``: the spiking policies, with their defaults; ``...-corrected`` with the common-mode
  correction,
* ``mlp``, ``cnn``: SB3's own policies (the CNN with the geometry of the spiking one),
* ``mlp-normalized``, ``cnn-normalized``: these with the normalisation that the spiking policies have, of observations
  and of the layers' currents, so that nobody credits spikes with what normalisation did.

All the runs of a task (or of all the tasks) that have no record yet, two at a time:

    python benchmarks/learning.py td3-halfcheetah --missing | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python

``--summary`` prints the Markdown table of the recorded runs, ``--figure`` draws their curves.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
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

SEEDS = (0, 1, 2)
FRESH_SEEDS = (11, 12, 13)  # for recipes that were found by trial on the others
RECORDS = Path("docs/data/learning")


@dataclass(frozen=True)
class Agent:
    """
    Who learns.

    :param policy: name of the policy
    :param policy_kwargs: its arguments
    """

    policy: str
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)


POPSAN = Agent("PopSANPolicy")
SPIKING_CNN = Agent("SpikingCnnPolicy")
CORRECTED = {"common_mode_correction": True}


class LayerNormExtractor(ConvExtractor):
    """
    The ANN torso with the normalisation of the spiking layers, before each ReLU.

    :param observation_space: images
    :param kwargs: see ``ConvExtractor``
    """

    def __init__(self, observation_space: spaces.Space, **kwargs: Any) -> None:
        super().__init__(observation_space, **kwargs)
        for branch in self.torso.branches:
            assert isinstance(branch, nn.Sequential)
            # From the end, so that what is inserted moves nothing that is still to be looked at.
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
    What is learnt.

    :param algorithm: name of the algorithm
    :param env: id of the environment, ``"minatar-<game>"`` for MinAtar
    :param steps: budget of environment steps
    :param agents: who learns it, the spiking ones first
    :param arguments: arguments of the algorithm, the same for all of them
    :param policy_kwargs: arguments of the policies, the same for all of them
    :param n_envs: environments in parallel
    :param noise: standard deviation of the action noise
    :param eval_episodes: episodes of each of the ten evaluations
    :param seeds: of the runs
    :param ranks: processes that train together, started by ``torchrun --nproc-per-node``
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
"""What tables and figures call the agents."""

# Chosen by trial on seed 0, on the spiking agent more than on the ANN; see docs/results.md.
DQN_CARTPOLE = {
    "learning_rate": LinearSchedule(5e-4, 0.0, 1.0),
    "batch_size": 64,
    "buffer_size": 50_000,
    "learning_starts": 1000,
    "target_update_interval": 200,
    "train_freq": 4,
    "gradient_steps": 2,
    "n_steps": 10,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
}
# Chosen between two learning rates on seed 100, for the spiking agent as for the ANN.
PPO_MINATAR = {"learning_rate": 1e-3, "n_steps": 128, "batch_size": 256, "n_epochs": 4, "ent_coef": 0.01}
DQN_MINATAR = {
    "learning_rate": 2.5e-4,
    "buffer_size": 100_000,
    "learning_starts": 5000,
    "target_update_interval": 1000,
    "exploration_fraction": 0.2,
    "exploration_final_eps": 0.05,
}

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
    """Return an algorithm of SB3 or sb3-contrib by its name."""
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
    """Return the untrained agent, with the arguments that all the agents of the task share."""
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
    """Train and return the record of the run: its provenance, time and curve; None on all ranks but the first."""
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
    """Return where the record of a run lies."""
    return RECORDS / f"{task}-{agent}-seed{seed}.json"


def records(task: str, agent: str) -> list[dict[str, Any]]:
    """Return the recorded runs of an agent in the order of their seeds."""
    paths = [record_path(task, agent, seed) for seed in TASKS[task].seeds]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def missing(tasks: Mapping[str, Task]) -> list[str]:
    """Return the arguments of the runs without a record."""
    return [
        f"{torchrun(task)}{__file__} {name} --agent {agent} --seed {seed}"
        for name, task in tasks.items()
        for agent in task.agents
        for seed in task.seeds
        if not record_path(name, agent, seed).exists()
    ]


def torchrun(task: Task) -> str:
    """Return what comes between ``python`` and the script where several processes train together."""
    return f"-m torch.distributed.run --standalone --nproc-per-node {task.ranks} " if task.ranks > 1 else ""


def summary(tasks: Mapping[str, Task]) -> str:
    """Return Markdown tables of the final returns, mean and standard deviation over the seeds: of all, then of each."""
    rows = ["| task | spiking | ANN | ANN, normalised |", "|---|---|---|---|"]
    rows += [
        f"| {' | '.join([title(task), *_finals(name, task)])} |" for name, task in tasks.items() if task.ranks == 1
    ]
    return "\n".join([*rows, *(line for name, task in tasks.items() for line in _table(name, task))])


def title(task: Task) -> str:
    """Return what a reader calls a task."""
    game = task.env.removeprefix("minatar-")
    env = task.env if game == task.env else f"MinAtar {game.capitalize()}"
    ranks = f", {task.ranks} ranks" if task.ranks > 1 else ""
    return f"{task.algorithm}, {env}, {task.steps:,} steps{ranks}"


def _finals(name: str, task: Task) -> list[str]:
    """Return the final returns of the spiking agent, the ANN and the normalised ANN, where there are such."""
    columns = (("popsan", "spiking-cnn"), ("mlp", "cnn"), ("mlp-normalized", "cnn-normalized"))
    finals = [[run["returns"][-1] for agent in agents for run in records(name, agent)] for agents in columns]
    return [_spread(np.array(final)) if final else "" for final in finals]


def _table(name: str, task: Task) -> list[str]:
    """Return the table of a task, a row for each agent."""
    lines = [
        f"\n**{title(task)}**\n",
        "| agent | last evaluation | each seed | best | CPU minutes |",
        "|---|---|---|---|---|",
    ]
    for agent in task.agents:
        runs = records(name, agent)
        if runs:
            last = np.array([run["returns"][-1] for run in runs])
            best = np.array([max(run["returns"]) for run in runs])
            minutes = np.mean([run["cpu_seconds"] for run in runs]) / 60
            some = "" if len(runs) == len(task.seeds) else f" ({len(runs)} of {len(task.seeds)} seeds)"
            row = [LABELS[agent], _spread(last) + some, ", ".join(map(_score, last)), _spread(best), f"{minutes:.0f}"]
            lines.append(f"| {' | '.join(row)} |")
    return lines


def _spread(values: np.ndarray) -> str:
    return f"{_score(values.mean())} ± {_score(values.std())}"


def _score(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def draw(tasks: Mapping[str, Task], path: Path) -> None:
    """Draw the curves of all the agents, a panel for each task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sb3_spiking.plotting import plot_learning_curve

    figure, axes = plt.subplots(1, len(tasks), figsize=(5.5 * len(tasks), 4.2), layout="constrained", squeeze=False)
    for ax, (name, task) in zip(axes[0], tasks.items(), strict=True):
        for agent in task.agents:
            runs = records(name, agent)
            if runs:
                returns = np.array([run["returns"] for run in runs]).T
                label = f"{LABELS[agent]} ({len(runs)} seeds)"
                plot_learning_curve(runs[0]["timesteps"], returns.tolist(), ax, label)
        ax.set_title(title(task))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="task", help=f"{', '.join(TASKS)}; all of them if none is named")
    parser.add_argument("--agent", help="train this one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="save the trained agent there, for example to convert it")
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
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record) + "\n")
        partial.replace(path)
        print(path, f"last {record['returns'][-1]:.0f}, best {max(record['returns']):.0f}, {record['seconds']} s")


if __name__ == "__main__":
    main()
