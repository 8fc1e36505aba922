"""
Time of a gradient step by number of torch threads.

    python benchmarks/threads.py

Times are wall-clock times: processor times would hide threads that wait for each other. Other load on the machine is
decisive, so the record, docs/data/speed/threads.json, holds the load averages. ``--summary`` prints the table.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import records
import torch as th
from gymnasium import spaces
from implementations import NoiseEnv
from provenance import provenance
from stable_baselines3 import DQN, PPO, TD3
from timing import interleave

import sb3_spiking

RECORD = records.DATA / "speed" / "threads.json"
HALF_CHEETAH = (spaces.Box(-np.inf, np.inf, (17,)), spaces.Box(-1.0, 1.0, (6,)))
GRIDS = (spaces.Box(0, 255, (4, 10, 10), np.uint8), spaces.Discrete(6))
FRAMES = (spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(6))
MINATAR = {"features_extractor_class": sb3_spiking.policies.ConvExtractor, "net_arch": []}

Update = Callable[[], object]


def td3(policy: str, batch_size: int) -> Update:
    """Return an update of two gradient steps, one of them with an actor update."""
    arguments: dict[str, Any] = {"buffer_size": 1000, "learning_starts": 300, "device": "cpu"}
    model = TD3(policy, NoiseEnv(*HALF_CHEETAH), policy_kwargs={"net_arch": [256, 256]}, **arguments)
    model.learn(300)
    return partial(model.train, gradient_steps=2, batch_size=batch_size)


def ppo(policy: str, batch_size: int) -> Update:
    """Return an update of one epoch over 512 steps."""
    model = PPO(policy, NoiseEnv(*HALF_CHEETAH), n_steps=512, batch_size=batch_size, n_epochs=1, device="cpu")
    model.learn(512)
    return model.train


def dqn(policy: str, env: Any, batch_size: int, **policy_kwargs: Any) -> Update:
    """Return an update of one gradient step on images."""
    model = DQN(policy, NoiseEnv(*env), buffer_size=100, learning_starts=100, device="cpu", policy_kwargs=policy_kwargs)
    model.learn(100)
    return partial(model.train, gradient_steps=1, batch_size=batch_size)


CASES: dict[str, Callable[[], Update]] = {
    "TD3 MlpPolicy, batch 64": partial(td3, "MlpPolicy", 64),
    "TD3 PopSANPolicy, batch 64": partial(td3, "PopSANPolicy", 64),
    "TD3 MlpPolicy, batch 256": partial(td3, "MlpPolicy", 256),
    "TD3 PopSANPolicy, batch 256": partial(td3, "PopSANPolicy", 256),
    "PPO MlpPolicy, batch 64": partial(ppo, "MlpPolicy", 64),
    "PPO PopSANPolicy, batch 64": partial(ppo, "PopSANPolicy", 64),
    "DQN CnnPolicy, 10 x 10, batch 32": partial(dqn, "CnnPolicy", GRIDS, 32, **MINATAR),
    "DQN SpikingCnnPolicy, 10 x 10, batch 32": partial(dqn, "SpikingCnnPolicy", GRIDS, 32),
    "DQN CnnPolicy, 84 x 84, batch 32": partial(dqn, "CnnPolicy", FRAMES, 32),
    "DQN SpikingCnnPolicy, 84 x 84, batch 32": partial(dqn, "SpikingCnnPolicy", FRAMES, 32),
}


def milliseconds(update: Update, threads: int, at_least: float = 0.2) -> float:
    """Return the wall-clock time of an update in milliseconds."""
    th.set_num_threads(threads)
    update()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < at_least:
        update()
        calls += 1
    return 1e3 * (time.perf_counter() - start) / calls


def measure(make: Callable[[], Update], threads: Sequence[int], repeats: int) -> dict[str, Any]:
    """Return the rounds of one case, with the numbers of threads in alternation."""
    th.set_num_threads(1)
    update = make()
    return interleave({f"{n}": partial(milliseconds, update, n) for n in threads}, repeats, warm_up=1)


def summary(record: dict[str, Any]) -> str:
    """Return a Markdown table: medians of the rounds in milliseconds, and the ratio of most to fewest threads."""
    first, *more = record["threads_compared"]
    columns = ["", f"{first} thread", *(f"{n} threads" for n in more), "factor"]
    rows = []
    for name, rounds in record["cases"].items():
        medians = [float(np.median(rounds[f"{n}"])) for n in (first, *more)]
        rows.append([name, *(f"{ms:.3g} ms" for ms in medians), f"{medians[-1] / medians[0]:.2g}"])
    return "\n".join(records.table(columns, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--summary", action="store_true", help="print the table of the record and stop")
    args = parser.parse_args()
    if not args.summary:
        cases, loads = {}, []
        for name, make in CASES.items():
            loads.append(os.getloadavg()[0])
            cases[name] = measure(make, args.threads, args.repeats)
            print(name, {n: round(float(np.median(ms)), 2) for n, ms in cases[name].items()}, flush=True)
        record = {"threads_compared": args.threads, "load_averages": loads, "cases": cases}
        records.write(RECORD, {**record, **provenance()})
    print(summary(records.read(RECORD)))


if __name__ == "__main__":
    main()
