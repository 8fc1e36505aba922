"""Learning evidence: train one agent on one environment with one seed and record its curve.

The runs behind docs/results.md, one process and one thread each:

    OMP_NUM_THREADS=1 python benchmarks/learning.py --agent popsan --env HalfCheetah-v5 --steps 100000 --seed 0

Every agent gets the same algorithm arguments; the policy's own defaults stay untouched. The
three agents are

* ``popsan``: ``TD3("PopSANPolicy", env)``,
* ``mlp``: ``TD3("MlpPolicy", env)``, as SB3 ships it,
* ``mlp-normalized``: the same with the observation normalisation of PopSANPolicy, so that
  nobody credits spikes with what normalisation did.

All the runs that docs/results.md promises and that have no record yet, two at a time:

    python benchmarks/learning.py --missing | OMP_NUM_THREADS=1 xargs -P 2 -L 1 python

``--summary`` prints the Markdown table of all the recorded runs.
"""

import argparse
import json
import platform
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch as th
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise

AGENTS = ("popsan", "mlp", "mlp-normalized")
PLAN = {"HalfCheetah-v5": 100_000, "InvertedDoublePendulum-v5": 50_000}
SEEDS = (0, 1, 2)
EVAL_EPISODES = 5


def make_model(agent: str, env: gym.Env, seed: int) -> TD3:
    """Return the untrained agent, with the algorithm arguments that all the agents share."""
    policy, policy_kwargs = "MlpPolicy", {}
    if agent == "popsan":
        import sb3_spiking  # noqa: F401

        policy = "PopSANPolicy"
    elif agent == "mlp-normalized":
        from sb3_spiking.policies import RunningNormExtractor

        policy_kwargs = {"features_extractor_class": RunningNormExtractor}
    action_shape = env.action_space.shape
    noise = NormalActionNoise(np.zeros(action_shape), 0.1 * np.ones(action_shape))
    return TD3(policy, env, learning_starts=10_000, action_noise=noise, seed=seed, policy_kwargs=policy_kwargs)


def train(agent: str, env_id: str, steps: int, seed: int) -> dict:
    """Train and return the record of the run: its settings, versions, wall-clock and curve."""
    model = make_model(agent, Monitor(gym.make(env_id)), seed)
    eval_env = Monitor(gym.make(env_id))
    eval_env.reset(seed=10_000 + seed)
    with tempfile.TemporaryDirectory() as folder:
        callback = EvalCallback(
            eval_env,
            eval_freq=max(steps // 10, 1),
            n_eval_episodes=EVAL_EPISODES,
            log_path=folder,
            verbose=0,
        )
        start, cpu_start = time.perf_counter(), time.process_time()
        model.learn(steps, callback=callback)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        curve = np.load(Path(folder) / "evaluations.npz")
        timesteps, returns = curve["timesteps"].tolist(), curve["results"].mean(axis=1).tolist()
    return {
        "agent": agent,
        "env": env_id,
        "seed": seed,
        "steps": steps,
        "eval_episodes": EVAL_EPISODES,
        "timesteps": timesteps,
        "returns": returns,
        "seconds": round(seconds),
        "cpu_seconds": round(cpu_seconds),
        "versions": {
            "python": platform.python_version(),
            "torch": th.__version__,
            "stable_baselines3": stable_baselines3.__version__,
            "gymnasium": gym.__version__,
        },
    }


def record_path(folder: Path, agent: str, env_id: str, steps: int, seed: int) -> Path:
    """Return where the record of a run lies."""
    return folder / f"{agent}-{env_id}-{steps}-seed{seed}.json"


def missing(folder: Path) -> list[str]:
    """Return the arguments of the planned runs without a record, the longest first."""
    return [
        f"{__file__} --agent {agent} --env {env_id} --steps {steps} --seed {seed} --out {folder}"
        for env_id, steps in PLAN.items()
        for agent in AGENTS
        for seed in SEEDS
        if not record_path(folder, agent, env_id, steps, seed).exists()
    ]


def summary(folder: Path) -> str:
    """Return a Markdown table of the final returns, mean +- std over the seeds."""
    runs = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        runs[record["env"], record["steps"], record["agent"]].append(record)
    rows = [
        "| environment | steps | agent | seeds | last evaluation | each seed | best evaluation | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (env_id, steps, agent), records in sorted(runs.items()):
        last = np.array([record["returns"][-1] for record in records])
        best = np.array([max(record["returns"]) for record in records])
        minutes = np.mean([record["seconds"] for record in records]) / 60
        seeds = ", ".join(str(record["seed"]) for record in records)
        each = ", ".join(f"{value:.0f}" for value in last)
        rows.append(
            f"| {env_id} | {steps:,} | {agent} | {seeds} | {_spread(last)} | {each} | {_spread(best)} | {minutes:.0f} |"
        )
    return "\n".join(rows)


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.0f} +- {values.std():.0f}" if len(values) > 1 else f"{values[0]:.0f} (one seed)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", choices=AGENTS, default="popsan")
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/data/learning"), help="folder of the records")
    parser.add_argument("--missing", action="store_true", help="print the arguments of the runs still to do and stop")
    parser.add_argument("--summary", action="store_true", help="print the table of all the records and stop")
    args = parser.parse_args()
    if args.summary or args.missing:
        print(summary(args.out) if args.summary else "\n".join(missing(args.out)))
        return
    th.set_num_threads(1)
    record = train(args.agent, args.env, args.steps, args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    path = record_path(args.out, args.agent, args.env, args.steps, args.seed)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record) + "\n")
    partial.replace(path)
    print(path, f"last {record['returns'][-1]:.0f}, best {max(record['returns']):.0f}, {record['seconds']} s")


if __name__ == "__main__":
    main()
