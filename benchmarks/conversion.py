"""Conversion evidence: every coding on trained agents, for many time steps.

The tables behind docs/results.md:

    OMP_NUM_THREADS=1 python benchmarks/conversion.py agreement ../shared/reference/zoo-dqn/*.zip
    OMP_NUM_THREADS=1 python benchmarks/conversion.py returns ../shared/reference/zoo-dqn/*.zip

``agreement`` compares decisions on states of the DQN's own episodes: 10,000 to calibrate on (one action in twenty at
random), 1,000 of other episodes to compare on, both drawn anew for each of three seeds. ``returns`` lets DQN and
spiking network play the same 100 episodes. Environments are taken from the files' names. Records go to
docs/data/conversion; ``--summary`` prints the tables of all of them.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from sb3_spiking.conversion import EnvSpec, calibration_states, compare, convert, load_dqn
from sb3_spiking.conversion.converter import convert_policy
from sb3_spiking.conversion.environment import find_env
from sb3_spiking.conversion.methods import METHODS, make_method
from sb3_spiking.conversion.policy import DenseQPolicy

RECORDS = Path("docs/data/conversion")
TIME_STEPS = (4, 8, 16, 32, 64, 128, 256, 512)
SEEDS = (0, 1, 2)
STATES = 1000
EPISODES = 100

SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in METHODS},
    "rate, max per layer": {"name": "rate", "threshold": "max", "per_neuron": False},
    "rate, 99.9% per layer": {"name": "rate", "threshold": "99.9%", "per_neuron": False},
    "rate, max per neuron": {"name": "rate", "threshold": "max", "per_neuron": True},
}
"""The named codings with their defaults, and rate coding with the other thresholds."""


def agent_and_env(path: Path) -> tuple[DenseQPolicy, EnvSpec]:
    """Return a trained agent and the environment that its file names."""
    dqn = load_dqn(path)
    found = find_env(path, dqn.observation_space, dqn.action_space)
    if found is None or found.spec is None:
        raise SystemExit(f"{path} names no environment")
    return dqn, found.spec


def agreement(path: Path) -> dict[str, Any]:
    """Return the share of equal decisions for each setting, number of time steps and seed."""
    dqn, env = agent_and_env(path)
    results: dict[str, dict[str, list[float]]] = {name: {} for name in SETTINGS}
    for seed in SEEDS:
        calibration = calibration_states(dqn, env, seed=100_000 * seed)
        test = calibration_states(dqn, env, STATES, epsilon=0.0, seed=100_000 * seed + 50_000)
        wanted = dqn.q_values(test)[0].argmax(axis=1)
        for name, setting in SETTINGS.items():
            for steps in TIME_STEPS:
                try:
                    method = make_method(**setting, time_steps=steps)
                except ValueError:  # more digits than float32 has
                    continue
                actions = convert_policy(dqn, calibration, method).q_values(test)[0].argmax(axis=1)
                results[name].setdefault(str(steps), []).append(float((actions == wanted).mean()))
    return results


def returns(path: Path) -> dict[str, Any]:
    """Return what the DQN and its default conversion reach in the same episodes."""
    dqn, env = agent_and_env(path)
    report = compare(dqn, convert(dqn, env=env), env, EPISODES, seed=1_000_000)
    return dataclasses.asdict(report)


def summary() -> str:
    """Return Markdown tables of the records."""
    lines = []
    columns = " | ".join(f"T={steps}" for steps in TIME_STEPS)
    for path in sorted(RECORDS.glob("agreement-*.json")):
        lines += [f"\n| {path.stem.removeprefix('agreement-')} | {columns} |", "|---" * (len(TIME_STEPS) + 1) + "|"]
        for name, results in json.loads(path.read_text()).items():
            cells = [_share(results.get(str(steps))) for steps in TIME_STEPS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["\n| agent | DQN | spiking network | equal decisions | synops | energy |", "|---" * 6 + "|"]
    for path in sorted(RECORDS.glob("returns-*.json")):
        record = json.loads(path.read_text())
        of_dqn, of_snn = (_mean_and_error(record[key]) for key in ("dqn_returns", "snn_returns"))
        energy = f"{1e9 * record['snn_joules']:.0f} nJ (DQN: {1e9 * record['dqn_joules']:.0f} nJ)"
        cells = [path.stem.removeprefix("returns-"), of_dqn, of_snn, f"{100 * record['agreement']:.2f} %"]
        cells += [f"{record['cost']['synops']:.0f}", energy]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(values: list[float] | None) -> str:
    return "" if values is None else f"{100 * np.mean(values):.1f} +- {100 * np.std(values):.1f}"


def _mean_and_error(values: list[float]) -> str:
    return f"{np.mean(values):.1f} +- {np.std(values, ddof=1) / len(values) ** 0.5:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["agreement", "returns"])
    parser.add_argument("agents", nargs="*", type=Path, metavar="dqn.zip")
    parser.add_argument("--summary", action="store_true", help="print the tables of the records and stop")
    args = parser.parse_args()
    if args.summary:
        print(summary())
        return
    if args.what is None or not args.agents:
        parser.error("name what to measure, and agents")
    th.set_num_threads(1)
    RECORDS.mkdir(parents=True, exist_ok=True)
    for path in args.agents:
        record = agreement(path) if args.what == "agreement" else returns(path)
        target = RECORDS / f"{args.what}-{path.stem}.json"
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(record) + "\n")
        partial.replace(target)
        print(target, flush=True)


if __name__ == "__main__":
    main()
