"""
Learning curves: train one agent on one task with one seed and record its evaluations.

The runs behind docs/results.md, one process and one thread each:

    OMP_NUM_THREADS=1 python benchmarks/learning.py td3-halfcheetah --agent popsan --seed 0

`learning_tasks.py` has the tasks and their agents. A run that was interrupted continues from its last evaluation when
it is started again (`checkpoints.py`; the checkpoints lie in benchmarks/unfinished).

All runs of a task (or of all tasks) without a record, two at a time:

    python benchmarks/learning.py td3-halfcheetah --missing | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python

``--summary`` prints the Markdown tables of the recorded runs, ``--figure`` draws their curves.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch as th
from checkpoints import Checkpoints, discard
from learning_tasks import LABELS, TASKS, Agent, Task, algorithm_class, make_env, make_model
from provenance import provenance
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback

from sb3_spiking.distributed import DataParallelCallback

RECORDS = records.DATA / "learning"
UNFINISHED = Path(__file__).parent / "unfinished"


def train(task: Task, agent: Agent, seed: int, folder: Path, save: Path | None = None) -> dict[str, Any] | None:
    """
    Train an agent, or go on where an interrupted run was evaluated last.

    :param task: learning task
    :param agent: policy and its arguments
    :param seed: seed of the run
    :param folder: folder for the checkpoints of this run; a run on several ranks has none
    :param save: file for the trained agent
    :return: record of the run: curve, duration and provenance; None on all ranks but the first
    """
    evaluation = EvalCallback(
        make_env(task, 1, 10_000 + seed),
        eval_freq=max(task.steps // task.evaluations // task.n_envs // task.ranks, 1),
        n_eval_episodes=task.eval_episodes,
        log_path=str(folder),
        verbose=0,
    )
    checkpoints = Checkpoints(folder, evaluation)
    callback: BaseCallback = CallbackList([evaluation, checkpoints])
    model = None
    if task.ranks > 1:
        callback = DataParallelCallback(rank_zero=evaluation)
    else:
        model = checkpoints.load(algorithm_class(task.algorithm), partial(make_env, task, task.n_envs, seed))
    if model is None:
        model = make_model(task, agent, seed)
    model.learn(task.steps - model.num_timesteps, callback=callback, reset_num_timesteps=not model.num_timesteps)
    if isinstance(callback, DataParallelCallback) and not callback.is_main:
        return None
    if save is not None:
        model.save(save)
    seconds, cpu_seconds = checkpoints.spent
    return {
        "timesteps": evaluation.evaluations_timesteps,
        "returns": np.mean(evaluation.evaluations_results, axis=1).tolist(),
        "eval_episodes": task.eval_episodes,
        "seconds": round(seconds),
        "cpu_seconds": round(cpu_seconds),
        "resumed_at": checkpoints.resumed_at,
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
    """Return Markdown tables of final returns, mean and deviation over the seeds: of complete tasks, then of each."""
    complete = {name: task for name, task in tasks.items() if task.ranks == 1 and not missing({name: task})}
    rows = [[title(task), *_finals(name, task)] for name, task in complete.items()]
    lines = records.table(["task", "spiking", "ANN", "ANN, normalised"], rows)
    return "\n".join([*lines, *(line for name, task in tasks.items() for line in _table(name, task))])


def title(task: Task) -> str:
    """Return the title of a task in tables and figures."""
    game = task.env.removeprefix("minatar-")
    env = task.env if game == task.env else f"MinAtar {game.replace('_', ' ').title()}"
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
    if not rows:
        return []
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
        folder = UNFINISHED / record_path(name, args.agent, args.seed).stem
        run = train(task, task.agents[args.agent], args.seed, folder, args.save)
        if run is None:
            return
        record = {"task": name, "agent": args.agent, "seed": args.seed, **run}
        path = record_path(name, args.agent, args.seed)
        records.write(path, record)
        discard(folder)
        print(path, f"last {record['returns'][-1]:.0f}, best {max(record['returns']):.0f}, {record['seconds']} s")


if __name__ == "__main__":
    main()
