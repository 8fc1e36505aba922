"""
Distillation of the published PopSAN actor into smaller and faster students, on HalfCheetah.

    OMP_NUM_THREADS=1 python benchmarks/distillation.py spikingmlp-T3 --seed 0 --checkpoint path/to/actor.npz

The teacher is the original authors' actor (T = 5). The students are untrained TD3 agents; their hidden layers have 256
neurons each. ``--missing`` prints the arguments of the runs without a record, ``--summary`` the Markdown table of the
records.
"""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch as th
from provenance import provenance
from reference_actor import ENV, load_actor
from stable_baselines3 import TD3

from sb3_spiking import distill
from sb3_spiking.snn.operations import HOROWITZ_45NM

RECORDS = records.DATA / "distillation"
SEEDS = (0, 1, 2)
STEPS = 50_000
PENALTY = {"firing_penalty": 1.0, "firing_target": 0.05}
STUDENTS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "popsan-T5": ("PopSANPolicy", {"time_steps": 5}),
    "popsan-T5-penalised": ("PopSANPolicy", {"time_steps": 5, **PENALTY}),
    "popsan-T3": ("PopSANPolicy", {"time_steps": 3}),
    "popsan-T3-rounded": ("PopSANPolicy", {"time_steps": 3, "encoder": "rounded"}),
    "popsan-T1": ("PopSANPolicy", {"time_steps": 1}),
    "popsan-T1-rounded": ("PopSANPolicy", {"time_steps": 1, "encoder": "rounded"}),
    "spikingmlp-T5": ("SpikingMlpPolicy", {"time_steps": 5}),
    "spikingmlp-T3": ("SpikingMlpPolicy", {"time_steps": 3}),
    "spikingmlp-T3-penalised": ("SpikingMlpPolicy", {"time_steps": 3, **PENALTY}),
    "spikingmlp-T1": ("SpikingMlpPolicy", {"time_steps": 1}),
}
"""Name of a student -> policy and its arguments."""


def run(name: str, seed: int, checkpoint: Path) -> dict[str, Any]:
    """Distil, and return the record."""
    policy, policy_kwargs = STUDENTS[name]
    teacher, _ = load_actor(checkpoint)
    student = TD3(policy, ENV, seed=seed, buffer_size=1, device="cpu", policy_kwargs=dict(policy_kwargs))
    report = distill(teacher, student, ENV, STEPS, seed=seed)
    return {"student": name, "seed": seed, **dataclasses.asdict(report), **provenance()}


def record_path(name: str, seed: int) -> Path:
    """Return the path of a run's record."""
    return RECORDS / f"{name}-seed{seed}.json"


def summary() -> str:
    """Return the Markdown table of the records."""
    rows = []
    for name, (policy, kwargs) in STUDENTS.items():
        runs = [found for seed in SEEDS if (found := records.read(record_path(name, seed)))]
        if runs:
            returns = np.array([np.mean(each["student_returns"]) for each in runs])
            teachers = np.array([np.mean(each["teacher_returns"]) for each in runs])
            costs = [each["cost"] for each in runs]
            joules = np.mean([HOROWITZ_45NM.joules(cost["macs"], cost["synops"]) for cost in costs])
            rates = [[rate for name, rate in cost["firing_rates"].items() if name != "encoder"] for cost in costs]
            more = ", rounded" if "encoder" in kwargs else ", penalised" if "firing_penalty" in kwargs else ""
            cells = [f"`{policy}`, T = {kwargs['time_steps']}{more}", f"{returns.mean():.0f} ± {returns.std():.0f}"]
            cells += [", ".join(f"{value:.0f}" for value in returns), f"{100 * np.mean(returns / teachers):.0f} %"]
            cells += [f"{np.mean([each['error'] for each in runs]):.2f}", f"{100 * np.mean(rates):.0f} %"]
            cells += [f"{1e9 * joules:.0f}"]
            rows.append(cells)
    heading = ["student", "return", "each seed", "of the teacher's", "error", "firing", "nJ"]
    return "\n".join(records.table(heading, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", nargs="?", choices=STUDENTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="actor.npz: parameters, slashes for dots, obs_mean, obs_var")
    parser.add_argument("--missing", action="store_true", help="print the arguments of the runs still to do and stop")
    parser.add_argument("--summary", action="store_true", help="print the table of the records and stop")
    args = parser.parse_args()
    if args.missing and args.checkpoint is None:
        parser.error("--missing needs --checkpoint, which it prints")
    if args.missing:
        runs = [(name, seed) for seed in SEEDS for name in STUDENTS if not record_path(name, seed).exists()]
        print("\n".join(f"{__file__} {name} --seed {seed} --checkpoint {args.checkpoint}" for name, seed in runs))
        return
    if args.summary:
        print(summary())
        return
    if args.student is None or args.checkpoint is None:
        parser.error("to distil, name a student and --checkpoint")
    th.set_num_threads(1)
    record = run(args.student, args.seed, args.checkpoint)
    path = record_path(args.student, args.seed)
    records.write(path, record)
    print(path, f"{np.mean(record['student_returns']):.0f} of {np.mean(record['teacher_returns']):.0f}")


if __name__ == "__main__":
    main()
