"""
Accuracy of conversion: every coding on trained agents, for many time steps.

The tables behind docs/results.md, of agents in files that name their environment (``dqn-CartPole-v1.zip``):

    OMP_NUM_THREADS=1 python benchmarks/conversion.py agreement AGENT.zip ...
    OMP_NUM_THREADS=1 python benchmarks/conversion.py returns AGENT.zip ...
    OMP_NUM_THREADS=1 python benchmarks/conversion.py finetuning AGENT.zip ...

``agreement`` compares decisions on states of the DQN's own episodes: 10,000 states for calibration (one action in
twenty at random) and 1,000 states of other episodes for the comparison, both drawn anew for each of three seeds. The
residual coding carries state from decision to decision and is compared over ten complete episodes instead. ``returns``
plays the same 100 episodes with the DQN and with the spiking network. ``finetuning`` compares decisions without and
with 2,000 steps of fine-tuning. Records go to docs/data/conversion; ``--summary`` prints the tables of all records.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch as th
from provenance import provenance

from sb3_spiking.conversion import EnvRecipe, calibration_states, compare, convert, load_dqn
from sb3_spiking.conversion.converter import convert_policy
from sb3_spiking.conversion.methods import METHODS, make_method
from sb3_spiking.conversion.policy import DenseQPolicy
from sb3_spiking.environments.from_files import find_env

RECORDS = records.DATA / "conversion"
Results = dict[str, dict[str, list[float]]]
"""Share of equal decisions by setting and number of time steps, one for each seed."""
TIME_STEPS = (4, 8, 16, 32, 64, 128, 256, 512)
DIGITS = (2, 4, 6, 8, 10, 12, 14, 16)
SEEDS = (0, 1, 2)
STATES = 1000
EPISODES = 100

SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in METHODS},
    "rate, max per layer": {"method": "rate", "threshold": "max", "per_neuron": False},
    "rate, 99.9% per layer": {"method": "rate", "threshold": "99.9%", "per_neuron": False},
    "rate, max per neuron": {"method": "rate", "threshold": "max", "per_neuron": True},
}
"""The named codings with their defaults, and rate coding with the other thresholds."""
DIGIT_CODINGS = ("ternary", "few-spike")
FINETUNED = (("rate", 4), ("rate", 16), ("few-spike", 4), ("ternary", 4))


def agent_and_env(path: Path) -> tuple[DenseQPolicy, EnvRecipe]:
    """Return a trained agent and the recipe of the environment in its file name."""
    dqn = load_dqn(path)
    found = find_env(path, dqn.observation_space, dqn.action_space)
    if found is None or found.recipe is None:
        raise SystemExit(f"{path} names no environment")
    return dqn, found.recipe


def agreement(path: Path) -> dict[str, Any]:
    """Return the shares of equal decisions for all settings, numbers of time steps and seeds."""
    dqn, env = agent_and_env(path)
    results: Results = {name: {} for name in SETTINGS}
    for seed in SEEDS:
        calibration = calibration_states(dqn, env, seed=100_000 * seed)
        test = calibration_states(dqn, env, STATES, epsilon=0.0, seed=100_000 * seed + 50_000)
        wanted = dqn.q_values(test)[0].argmax(axis=1)
        for name, setting in SETTINGS.items():
            for steps in DIGITS if setting["method"] in DIGIT_CODINGS else TIME_STEPS:
                try:
                    method = make_method(**setting, time_steps=steps)
                except ValueError:  # float32 has fewer digits
                    continue
                snn = convert_policy(dqn, calibration, method)
                if name == "residual":  # its state is meaningful along episodes only
                    share = compare(dqn, snn, env, episodes=10, seed=100_000 * seed).agreement
                else:
                    share = float((snn.q_values(test)[0].argmax(axis=1) == wanted).mean())
                results[name].setdefault(str(steps), []).append(share)
    return results


def finetuning(path: Path) -> dict[str, Any]:
    """Return the shares of equal decisions without and with fine-tuning, for few time steps."""
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
    """Return the comparison of the DQN with its default conversion in the same episodes."""
    dqn, env = agent_and_env(path)
    report = compare(dqn, convert(dqn, env=env), env, EPISODES, seed=1_000_000)
    return dataclasses.asdict(report)


def summary() -> str:
    """Return the Markdown tables of all records."""
    lines: list[str] = []
    for agent, record in _recorded("agreement"):
        lines += _table(agent, {name: shares for name, shares in record.items() if name in DIGIT_CODINGS})
        lines += _table(agent, {name: shares for name, shares in record.items() if name not in DIGIT_CODINGS})
    heading = ["agent", "DQN's return", "SNN's return", "agreement", "SNN's synops", "SNN's energy", "DQN's energy"]
    rows = []
    for path in sorted(RECORDS.glob("returns-*.json")):
        report: dict[str, Any] = records.read(path)
        cells = [path.stem.removeprefix("returns-")]
        cells += [_mean_and_error(report[key]) for key in ("dqn_returns", "snn_returns")]
        cells += [f"{100 * report['agreement']:.2f} %", f"{report['cost']['synops']:.0f}"]
        cells += [f"{1e9 * report[key]:.0f} nJ" for key in ("snn_joules", "dqn_joules", "dqn_effective_joules")]
        rows.append(cells)
    lines += ["", *records.table([*heading, "DQN's, zeros skipped"], rows)]
    return "\n".join([*lines, *_finetuning_table()])


def _recorded(measurement: str) -> list[tuple[str, Results]]:
    """Return the agents with records of a measurement, and the results."""
    found: list[tuple[str, Results]] = []
    for path in sorted(RECORDS.glob(f"{measurement}-*.json")):
        record = records.read(path)
        record.pop("provenance", None)
        found.append((path.stem.removeprefix(f"{measurement}-"), record))
    return found


def _finetuning_table() -> list[str]:
    recorded = _recorded("finetuning")
    rows = []
    for name, steps in FINETUNED:
        shares = [record[key][str(steps)] for _, record in recorded for key in (name, f"{name}, fine-tuned")]
        rows.append([f"{name}, T = {steps}", *map(_share, shares)])
    heading = [cell for agent, _ in recorded for cell in (agent, "fine-tuned")]
    return ["", *records.table(["coding", *heading], rows)]


def _table(agent: str, rows: Results) -> list[str]:
    steps = sorted({steps for shares in rows.values() for steps in shares}, key=int)
    if not rows:
        return []
    cells = [[name, *(_share(shares.get(count)) for count in steps)] for name, shares in rows.items()]
    return ["", *records.table([agent, *(f"T={count}" for count in steps)], cells)]


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
    parser.add_argument("measurement", nargs="?", choices=list(MEASUREMENTS))
    parser.add_argument("agents", nargs="*", type=Path, metavar="AGENT.zip")
    parser.add_argument("--summary", action="store_true", help="print the tables of the records and stop")
    args = parser.parse_args()
    if args.summary:
        print(summary())
        return
    if args.measurement is None or not args.agents:
        parser.error("name a measurement and the files of agents")
    th.set_num_threads(1)
    source = provenance()  # before the records change, which are part of the working tree
    for path in args.agents:
        record = {**MEASUREMENTS[args.measurement](path), "provenance": source}
        target = RECORDS / f"{args.measurement}-{path.stem}.json"
        records.write(target, record)
        print(target, flush=True)


if __name__ == "__main__":
    main()
