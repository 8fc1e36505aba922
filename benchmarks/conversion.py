"""Conversion evidence: every coding on trained agents, for many time steps.

The tables behind docs/results.md:

    OMP_NUM_THREADS=1 python benchmarks/conversion.py agreement ../shared/reference/zoo-dqn/*.zip
    OMP_NUM_THREADS=1 python benchmarks/conversion.py returns ../shared/reference/zoo-dqn/*.zip
    OMP_NUM_THREADS=1 python benchmarks/conversion.py finetuning ../shared/reference/zoo-dqn/*.zip

``agreement`` compares decisions on states of the DQN's own episodes: 10,000 to calibrate on (one action in twenty at
random), 1,000 of other episodes to compare on, both drawn anew for each of three seeds; the residual coding, which
carries something from decision to decision, is compared in ten episodes of its own. ``returns`` lets DQN and
spiking network play the same 100 episodes. ``finetuning`` compares decisions without and with 2,000 steps of it.
Environments are taken from the files' names. Records go to docs/data/conversion; ``--summary`` prints the tables of
all of them.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from provenance import provenance

from sb3_spiking.conversion import EnvRecipe, calibration_states, compare, convert, load_dqn
from sb3_spiking.conversion.converter import convert_policy
from sb3_spiking.conversion.methods import METHODS, make_method
from sb3_spiking.conversion.policy import DenseQPolicy
from sb3_spiking.environments.from_files import find_env

RECORDS = Path("docs/data/conversion")
Results = dict[str, dict[str, list[float]]]
"""Share of equal decisions for each seed, by setting and number of time steps."""
TIME_STEPS = (4, 8, 16, 32, 64, 128, 256, 512)
DIGITS = (2, 4, 6, 8, 10, 12, 14, 16)
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
DIGIT_CODINGS = ("ternary", "few-spike")
FINETUNED = (("rate", 4), ("rate", 16), ("few-spike", 4), ("ternary", 4))


def agent_and_env(path: Path) -> tuple[DenseQPolicy, EnvRecipe]:
    """Return a trained agent and the environment that its file names."""
    dqn = load_dqn(path)
    found = find_env(path, dqn.observation_space, dqn.action_space)
    if found is None or found.recipe is None:
        raise SystemExit(f"{path} names no environment")
    return dqn, found.recipe


def agreement(path: Path) -> dict[str, Any]:
    """Return the share of equal decisions for each setting, number of time steps and seed."""
    dqn, env = agent_and_env(path)
    results: Results = {name: {} for name in SETTINGS}
    for seed in SEEDS:
        calibration = calibration_states(dqn, env, seed=100_000 * seed)
        test = calibration_states(dqn, env, STATES, epsilon=0.0, seed=100_000 * seed + 50_000)
        wanted = dqn.q_values(test)[0].argmax(axis=1)
        for name, setting in SETTINGS.items():
            for steps in DIGITS if setting["name"] in DIGIT_CODINGS else TIME_STEPS:
                try:
                    method = make_method(**setting, time_steps=steps)
                except ValueError:  # more digits than float32 has
                    continue
                snn = convert_policy(dqn, calibration, method)
                if name == "residual":  # what it carries over makes sense along episodes only
                    share = compare(dqn, snn, env, episodes=10, seed=100_000 * seed).agreement
                else:
                    share = float((snn.q_values(test)[0].argmax(axis=1) == wanted).mean())
                results[name].setdefault(str(steps), []).append(share)
    return results


def finetuning(path: Path) -> dict[str, Any]:
    """Return the share of equal decisions without and with fine-tuning, for few time steps."""
    dqn, env = agent_and_env(path)
    results: Results = {}
    for seed in SEEDS:
        calibration = calibration_states(dqn, env, seed=100_000 * seed)
        test = calibration_states(dqn, env, STATES, epsilon=0.0, seed=100_000 * seed + 50_000)
        wanted = dqn.q_values(test)[0].argmax(axis=1)
        for coding, steps in FINETUNED:
            for finetune_steps in (0, 2000):
                snn = convert_policy(dqn, calibration, make_method(coding, steps), finetune_steps, seed)
                share = float((snn.q_values(test)[0].argmax(axis=1) == wanted).mean())
                results.setdefault(coding + (", fine-tuned" if finetune_steps else ""), {}).setdefault(
                    str(steps), []
                ).append(share)
    return results


def returns(path: Path) -> dict[str, Any]:
    """Return what the DQN and its default conversion reach in the same episodes."""
    dqn, env = agent_and_env(path)
    report = compare(dqn, convert(dqn, env=env), env, EPISODES, seed=1_000_000)
    return dataclasses.asdict(report)


def summary() -> str:
    """Return Markdown tables of the records."""
    lines: list[str] = []
    for agent, record in _recorded("agreement"):
        lines += _table(agent, {name: shares for name, shares in record.items() if name in DIGIT_CODINGS})
        lines += _table(agent, {name: shares for name, shares in record.items() if name not in DIGIT_CODINGS})
    columns = "agent | DQN's return | SNN's return | agreement | SNN's synops | SNN's energy"
    columns += " | DQN's energy | DQN's, zeros skipped"
    lines += [f"\n| {columns} |", "|---" * 8 + "|"]
    for path in sorted(RECORDS.glob("returns-*.json")):
        report: dict[str, Any] = json.loads(path.read_text())
        cells = [path.stem.removeprefix("returns-")]
        cells += [_mean_and_error(report[key]) for key in ("dqn_returns", "snn_returns")]
        cells += [f"{100 * report['agreement']:.2f} %", f"{report['cost']['synops']:.0f}"]
        cells += [f"{1e9 * report[key]:.0f} nJ" for key in ("snn_joules", "dqn_joules", "dqn_effective_joules")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *_finetuning_table()])


def _recorded(what: str) -> list[tuple[str, Results]]:
    """Return the agents with a record of a measurement, and their results."""
    records: list[tuple[str, Results]] = []
    for path in sorted(RECORDS.glob(f"{what}-*.json")):
        record = json.loads(path.read_text())
        record.pop("provenance", None)
        records.append((path.stem.removeprefix(f"{what}-"), record))
    return records


def _finetuning_table() -> list[str]:
    records = _recorded("finetuning")
    heading = " | ".join(["coding", *(f"{agent} | fine-tuned" for agent, _ in records)])
    lines = [f"\n| {heading} |", "|---" * (1 + 2 * len(records)) + "|"]
    for name, steps in FINETUNED:
        shares = [record[key][str(steps)] for _, record in records for key in (name, f"{name}, fine-tuned")]
        lines.append(f"| {' | '.join([f'{name}, T = {steps}', *map(_share, shares)])} |")
    return lines


def _table(agent: str, rows: Results) -> list[str]:
    steps = sorted({steps for shares in rows.values() for steps in shares}, key=int)
    if not rows:
        return []
    heading = " | ".join([agent, *(f"T={count}" for count in steps)])
    cells = [" | ".join([name, *(_share(shares.get(count)) for count in steps)]) for name, shares in rows.items()]
    return [f"\n| {heading} |", "|---" * (len(steps) + 1) + "|", *(f"| {row} |" for row in cells)]


def _share(values: list[float] | None) -> str:
    return "" if values is None else f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def _mean_and_error(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.1f}"


MEASUREMENTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "agreement": agreement,
    "returns": returns,
    "finetuning": finetuning,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=list(MEASUREMENTS))
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
    source = provenance()  # before the records change, which are part of the working tree
    for path in args.agents:
        record = {**MEASUREMENTS[args.what](path), "provenance": source}
        target = RECORDS / f"{args.what}-{path.stem}.json"
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(record) + "\n")
        partial.replace(target)
        print(target, flush=True)


if __name__ == "__main__":
    main()
