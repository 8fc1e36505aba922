"""
Firing statistics of successful agents: the data behind the limits of ``LayerHealth.diagnosis``.

Agents of short trainings, with PPO on CartPole for the options of networks and with other algorithms on small tasks:

    OMP_NUM_THREADS=1 python benchmarks/health.py train ppo-lif
    python benchmarks/health.py missing | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python

Agents trained elsewhere: the original authors' actor on its recorded observations, and any model of SB3 on observations
of its episodes, ``[N, *shape]`` in a ``.npy`` file. Loading a model executes code of its file.

    python benchmarks/health.py reference path/to/actor.npz
    python benchmarks/health.py model walker path/to/model.zip --algorithm PPO --observations met.npy --reached 41.8

Each command writes a record to docs/data/health. ``summary`` prints the Markdown table of all records.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch as th
from learning_tasks import DQN_CARTPOLE, PPO_MINATAR, Agent, Task, algorithm_class, make_env, make_model
from provenance import provenance
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.policies import BasePolicy

import sb3_spiking
from sb3_spiking.callbacks import layer_health
from sb3_spiking.callbacks.training import MAX_DECISIONS
from sb3_spiking.policies.common import SpikingPolicy

RECORDS = records.DATA / "health"
MEASUREMENTS = 10


@dataclass(frozen=True)
class Run:
    """
    Training run.

    :param task: learning task
    :param agent: agent to train
    :param works: smallest return of a successful agent
    """

    task: Task
    agent: Agent
    works: float


CARTPOLE = Task("PPO", "CartPole-v1", 16_000, {}, {"n_steps": 128, "batch_size": 128, "learning_rate": 1e-3}, n_envs=8)
NETWORKS: Mapping[str, Agent] = {
    "popsan": Agent("PopSANPolicy"),
    "direct": Agent("SpikingMlpPolicy"),
    "analog": Agent("PopSANPolicy", {"encoder": "analog"}),
    "lif": Agent("PopSANPolicy", {"neuron": "lif"}),
    "plif": Agent("PopSANPolicy", {"neuron": "plif"}),
    "if": Agent("PopSANPolicy", {"neuron": "if"}),
    "dynamic": Agent("PopSANPolicy", {"neuron": "dynamic"}),
    "soft-reset": Agent("PopSANPolicy", {"neuron_kwargs": {"reset": "soft"}}),
    "triangle": Agent("PopSANPolicy", {"surrogate": "triangle"}),
    "atan": Agent("PopSANPolicy", {"surrogate": "atan"}),
    "sigmoid": Agent("PopSANPolicy", {"surrogate": "sigmoid"}),
    "intra": Agent("PopSANPolicy", {"intra_connections": True, "decoder": "last"}),
    "max": Agent("SpikingMlpPolicy", {"decoder": "max"}),
    "norm": Agent("SpikingMlpPolicy", {"membrane_norm": "layer"}),
    "two-steps": Agent("PopSANPolicy", {"time_steps": 2}),
    "twelve-steps": Agent("PopSANPolicy", {"time_steps": 12}),
}
POPSAN = NETWORKS["popsan"]
RUNS = {
    **{f"ppo-{name}": Run(CARTPOLE, agent, works=200.0) for name, agent in NETWORKS.items()},
    "a2c": Run(Task("A2C", "CartPole-v1", 50_000, {}, n_envs=8), POPSAN, works=200.0),
    "trpo": Run(Task("TRPO", "CartPole-v1", 16_000, {}, {"n_steps": 128}, n_envs=8), POPSAN, works=200.0),
    "td3": Run(
        Task(
            "TD3",
            "InvertedPendulum-v5",
            7_000,
            {},
            {"learning_starts": 1000, "batch_size": 64, "n_steps": 5},
            noise=0.5,
        ),
        POPSAN,
        works=500.0,
    ),
    "sac": Run(Task("SAC", "Pendulum-v1", 4_000, {}), POPSAN, works=-300.0),
    "dqn": Run(Task("DQN", "CartPole-v1", 20_000, {}, DQN_CARTPOLE), POPSAN, works=200.0),
    "ppo-images": Run(
        Task("PPO", "minatar-breakout", 60_000, {}, PPO_MINATAR, n_envs=8), Agent("SpikingCnnPolicy"), works=3.0
    ),
}


class Recorder(sb3_spiking.SpikeMonitorCallback):
    """Monitor that keeps all measurements, by name of the population."""

    def __init__(self, log_freq: int) -> None:
        super().__init__(log_freq)
        self.measurements: list[dict[str, Any]] = []

    def _measure(self) -> None:
        super()._measure()
        populations: dict[str, dict[str, float | None]] = {}
        for key, value in self.logger.name_to_value.items():
            if key.startswith("spikes/"):
                name, quantity = key.removeprefix("spikes/").rsplit("_", 1)
                populations.setdefault(name, {"window": None})[quantity] = value
        self.measurements.append({"step": self.num_timesteps, "populations": populations})


def train(run: Run, seed: int) -> dict[str, Any]:
    """Train an agent; return its returns and the health of its populations during training."""
    task = run.task
    recorder = Recorder(task.steps // task.n_envs // MEASUREMENTS)
    with tempfile.TemporaryDirectory() as folder:
        evaluation = EvalCallback(
            make_env(task, 1, 10_000 + seed),
            eval_freq=task.steps // task.n_envs // MEASUREMENTS,
            n_eval_episodes=5,
            log_path=folder,
            verbose=0,
        )
        make_model(task, run.agent, seed).learn(task.steps, callback=[evaluation, recorder])
        returns = np.load(Path(folder) / "evaluations.npz")["results"].mean(axis=1).tolist()
    return {
        "task": {"algorithm": task.algorithm, "env": task.env, "steps": task.steps, "seed": seed},
        "policy": run.agent.policy,
        "policy_kwargs": dict(run.agent.policy_kwargs),
        "returns": returns,
        "works_from": run.works,
        "reached": returns[-1],
        "measurements": recorder.measurements,
    }


def examine(policy: BasePolicy, observations: np.ndarray, reached: float) -> dict[str, Any]:
    """Measure a trained policy on some of its observations."""
    assert isinstance(policy, SpikingPolicy)
    some = observations[:: max(1, len(observations) // MAX_DECISIONS)]
    features = policy.spiking_features(policy.obs_to_tensor(some)[0])
    healths = {
        record.name: asdict(layer_health(record)) for record in policy.spiking_network.record(features).populations
    }
    return {"reached": reached, "works_from": reached, "measurements": [{"step": None, "populations": healths}]}


def reference(path: Path) -> dict[str, Any]:
    """Measure the original authors' actor on its recorded observations."""
    with np.load(path, allow_pickle=False) as data:
        arrays = dict(data)
    model = TD3("PopSANPolicy", "HalfCheetah-v5", buffer_size=1, device="cpu")
    state_dict = {name.replace("/", "."): value for name, value in arrays.items() if "/" in name}
    sb3_spiking.load_popsan_checkpoint(model, state_dict, arrays["obs_mean"], arrays["obs_var"])
    found = examine(model.policy, arrays["observations"], float(arrays["returns_seed0to4"].mean()))
    return {"task": {"algorithm": "TD3", "env": "HalfCheetah-v3"}, "policy": "PopSANPolicy", **found}


def write(name: str, record: Mapping[str, Any]) -> None:
    """Write the record of an agent and print its return."""
    records.write(RECORDS / f"{name}.json", {"name": name, **record, **provenance()})
    print(name, f"reached {record['reached']:.1f}, works from {record['works_from']:g}", flush=True)


def summary() -> str:
    """Return a Markdown table: extremes over the training and over the populations with membrane potentials."""
    rows = []
    for path in sorted(RECORDS.glob("*.json")):
        record = records.read(path)
        healths = [
            health
            for measurement in record["measurements"]
            for health in measurement["populations"].values()
            if health["window"] is not None
        ]
        column = {quantity: [health[quantity] for health in healths] for quantity in healths[0]}
        cells = [record["name"], f"{record['reached']:.1f}", f"{min(column['rate']):.2f} to {max(column['rate']):.2f}"]
        cells += [f"{max(column[name]):.2f}" for name in ("silent", "saturated")] + [f"{min(column['window']):.2f}"]
        rows.append(cells)
    heading = ["agent", "reached", "rate", "silent, at most", "saturated, at most", "window, at least"]
    return "\n".join(records.table(heading, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("run", choices=RUNS)
    training.add_argument("--seed", type=int, default=0)
    commands.add_parser("reference").add_argument("checkpoint", type=Path)
    model = commands.add_parser("model")
    model.add_argument("name")
    model.add_argument("path", type=Path)
    model.add_argument("--algorithm", required=True)
    model.add_argument("--observations", type=Path, required=True, help=".npy file of raw observations of its episodes")
    model.add_argument("--reached", type=float, required=True, help="return of the agent")
    model.add_argument("--env", default="", help="name of the environment, for the record")
    commands.add_parser("missing")
    commands.add_parser("summary")
    args = parser.parse_args()
    th.set_num_threads(1)
    if args.command == "summary":
        print(summary())
    elif args.command == "missing":
        print("\n".join(f"{__file__} train {name}" for name in RUNS if not (RECORDS / f"{name}.json").exists()))
    elif args.command == "train":
        write(args.run, train(RUNS[args.run], args.seed))
    elif args.command == "reference":
        write("popsan-halfcheetah", reference(args.checkpoint))
    else:
        policy = algorithm_class(args.algorithm).load(args.path, device="cpu").policy
        found = examine(policy, np.load(args.observations, allow_pickle=False), args.reached)
        task = {"algorithm": args.algorithm, "env": args.env}
        write(args.name, {"task": task, "policy": type(policy).__name__, **found})


if __name__ == "__main__":
    main()
