"""Turn a trained DQN or QRDQN into a spiking network, and measure what that costs."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sb3_spiking.cli import environment
from sb3_spiking.cli.console import out, progress, table, warn
from sb3_spiking.cli.foreign import check_agent
from sb3_spiking.conversion.agent import policy_of, read_or_trust
from sb3_spiking.conversion.calibration import Threshold
from sb3_spiking.conversion.converter import calibration_states, convert_policy
from sb3_spiking.conversion.dense import check_decision
from sb3_spiking.conversion.methods import Method, make_method
from sb3_spiking.conversion.policy import DenseQPolicy, Observation, SpikingQPolicy, features_shape
from sb3_spiking.conversion.report import Agreement, Report, compare, compare_on_states
from sb3_spiking.conversion.rollout import check_states, sampled
from sb3_spiking.conversion.saving import is_converted
from sb3_spiking.conversion.sweep import sweep
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.files import check_writable, replacing
from sb3_spiking.printable import printable
from sb3_spiking.reading.saved_states import read_states

TIME_SWEEP = (2, 4, 8, 16, 32, 64, 128, 256, 512)
THRESHOLD_SWEEP = ("max*2", "max*1.5", "max", "99.9%", "99%", "95%")
TEST_STATES = 2000
"""At most, on which a sweep compares; of other episodes than those of the calibration."""


def run(args: argparse.Namespace) -> None:
    """
    Convert.

    :param args: parsed options
    :raises ValueError: if something is not as it should be; nothing is written then
    """
    check_agent(args.path)
    if is_converted(args.path):
        raise ValueError(f"{args.path} is converted already; sb3-spiking evaluate plays it, watch films it")
    outputs = _outputs(args)
    method = _method(args)
    for option in ("states", "episodes", "max_episode_steps"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option.replace('_', '-')} {getattr(args, option)} must be at least 1")
    if args.finetune < 0:
        raise ValueError(f"--finetune {args.finetune} must be a number of steps, 0 or more")
    if not 0.0 <= args.epsilon <= 1.0:
        raise ValueError(f"--epsilon {args.epsilon} must lie in [0, 1]")
    given = None if args.observations is None else read_states(args.observations)
    checkpoint = read_or_trust(args.path, args.trust)
    dqn = policy_of(checkpoint)
    check_decision(dqn.network.layers, features_shape(dqn.observation_space), method.coding.time_steps)
    check_states(dqn.observation_space, args.states)
    spec = environment.env_of(args, dqn.observation_space, dqn.action_space)
    calibration, test = _states(args, dqn, spec) if given is None else _split(given, args.seed)
    with progress("fine-tuning", args.finetune, args.quiet or not args.finetune) as task:
        snn = convert_policy(dqn, calibration, method, args.finetune, args.seed, lambda loss: task.advance())
    report = _evaluate(args, dqn, snn, spec, test)
    columns = ("", "DQN", f"SNN ({report.coding})")
    table(columns, report.rows())
    sweeps = _sweeps(args, dqn, calibration, test, method)
    snn.origin.update(
        source=args.path.name,
        sha256=checkpoint.sha256,
        algorithm=checkpoint.algorithm,
        env=None if spec is None else _env_to_json(spec, outputs[0].resolve().parent),
    )
    _write(outputs, snn, report, sweeps, args)
    out.print("\nwritten: " + ", ".join(printable(str(path)) for path in outputs), markup=False)


def _outputs(args: argparse.Namespace) -> list[Path]:
    """Return where zip, JSON and figure go, before any work starts."""
    target: Path = args.output or args.path.with_name(f"{args.path.stem}_snn.zip")
    if target.suffix != ".zip":
        raise ValueError(f"--output {target} must end in .zip")
    outputs = [target.with_suffix(suffix) for suffix in (".zip", ".json", ".png")]
    if target.resolve() == args.path.resolve():
        raise ValueError(f"--output {target} is the file to convert; choose another name")
    folders = [str(path) for path in outputs if path.is_dir()]
    if folders:
        raise ValueError(f"{folders[0]} is a folder; choose another name with -o")
    there = [str(path) for path in outputs if path.exists()]
    if there and not args.force:
        raise ValueError(f"{there[0]} is there already; --force replaces it, -o writes elsewhere")
    if args.path.is_file() and not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent} to write to; make it, or choose another with -o")
    for path in outputs if target.parent.is_dir() else []:
        check_writable(path)
    return outputs


def _method(args: argparse.Namespace) -> Method:
    names = ("reset", "initial", "settling", "alpha")
    constants = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return make_method(args.coding, args.time_steps, args.threshold, args.per_neuron, **constants)


def _states(args: argparse.Namespace, dqn: DenseQPolicy, spec: EnvRecipe | None) -> tuple[Observation, Observation]:
    """Return states to calibrate on, and others to test on."""
    if spec is None:
        warn(
            "no environment is known: thresholds are calibrated on observations drawn from the observation space, "
            "which no agent meets; --env ID gives better ones, and returns"
        )
        space = dqn.observation_space
        return sampled(space, args.states, args.seed), sampled(space, TEST_STATES, args.seed + 1)
    tests = min(TEST_STATES, args.states)
    with progress("collecting states", args.states + tests, args.quiet) as task:
        calibration = calibration_states(dqn, spec, args.states, 0.05, args.seed, task.advance)
        test = calibration_states(dqn, spec, tests, 0.0, args.seed + 10_000, task.advance)
    return calibration, test


def _evaluate(
    args: argparse.Namespace, dqn: DenseQPolicy, snn: SpikingQPolicy, spec: EnvRecipe | None, test: Observation
) -> Report:
    if spec is None:
        return compare_on_states(dqn, snn, test)
    with progress("playing episodes", 2 * args.episodes, args.quiet) as task:
        report = compare(
            dqn,
            snn,
            spec,
            args.episodes,
            args.seed,
            args.epsilon,
            progress=lambda _: task.advance(),
            max_steps=args.max_episode_steps,
        )
    if report.dqn_cut or report.snn_cut:
        warn(environment.cut_text(report.dqn_cut + report.snn_cut, args.max_episode_steps))
    return report


def _sweeps(
    args: argparse.Namespace, dqn: DenseQPolicy, calibration: Observation, test: Observation, method: Method
) -> dict[str, dict[str, Agreement]]:
    """Try other values: for the figure fewer time steps, and what was asked for."""
    longest = max(TIME_SWEEP) if args.sweep_time else min(method.coding.time_steps, 64)
    steps = sorted({method.coding.time_steps, *(steps for steps in TIME_SWEEP if steps <= longest)})
    methods = {str(count): changed for count in steps if (changed := _with_time_steps(method, count)) is not None}
    tried = {"time steps": methods}
    if args.sweep_threshold:
        thresholds = {text: Threshold.parse(text, method.threshold.per_neuron) for text in THRESHOLD_SWEEP}
        tried["threshold"] = {
            text: dataclasses.replace(method, threshold=threshold) for text, threshold in thresholds.items()
        }
    sweeps = {}
    for name, methods in tried.items():
        with progress(f"trying {name}", len(methods), args.quiet) as task:
            sweeps[name] = sweep(dqn, calibration, test, methods, task.advance)
    for name, results in sweeps.items():
        if name == "threshold" or args.sweep_time:
            out.print()
            table((name, "equal decisions", "by output spikes alone", "error of Q / std"), _rows_of(results))
    return sweeps


def _rows_of(results: dict[str, Agreement]) -> list[tuple[str, str, str, str]]:
    return [
        (name, f"{100 * result.agreement:.2f} %", f"{100 * result.spikes_agreement:.2f} %", f"{result.q_error:.3g}")
        for name, result in results.items()
    ]


def _with_time_steps(method: Method, steps: int) -> Method | None:
    try:
        return dataclasses.replace(method, coding=dataclasses.replace(method.coding, time_steps=steps))
    except ValueError:  # more digits than there are, or no step left after the settling
        return None


def _write(
    outputs: list[Path],
    snn: SpikingQPolicy,
    report: Report,
    sweeps: dict[str, dict[str, Agreement]],
    args: argparse.Namespace,
) -> None:
    content = json.loads(report.to_json())
    content["settings"] = {**dataclasses.asdict(snn.network.coding), **snn.origin}
    options = ("episodes", "seed", "epsilon", "max_episode_steps")
    content["evaluation"] = {option: getattr(args, option) for option in options}
    content["sweeps"] = {
        name: {value: dataclasses.asdict(result) for value, result in results.items()}
        for name, results in sweeps.items()
    }
    with replacing(*outputs) as (network, numbers, figure):
        snn.save(network)
        numbers.write_text(json.dumps(content, indent=2) + "\n")
        _draw(report, sweeps, figure)


def _draw(report: Report, sweeps: dict[str, dict[str, Agreement]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from sb3_spiking.plotting import plot_sweep

    panels: list[Callable[[Any], Any]] = [report.plot] if report.dqn_returns else []
    panels += [partial(plot_sweep, name, results) for name, results in sweeps.items()]
    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for index, draw in enumerate(panels):
        draw(figure.add_subplot(1, len(panels), index + 1))
    figure.savefig(path, format="png", dpi=120)


def _env_to_json(spec: EnvRecipe, folder: Path) -> dict[str, Any]:
    """Describe an environment; statistics that lie below the folder of the output are noted from there."""
    statistics = None
    if spec.vec_normalize is not None:
        place = spec.vec_normalize.resolve()
        statistics = str(place.relative_to(folder) if place.is_relative_to(folder) else spec.vec_normalize)
    return {**dataclasses.asdict(spec), "kwargs": dict(spec.kwargs), "vec_normalize": statistics}


def _split(states: Observation, seed: int) -> tuple[Observation, Observation]:
    """Keep a fifth of the states to test on."""
    entry = next(iter(states.values())) if isinstance(states, dict) else states
    order = np.random.default_rng(seed).permutation(len(entry))
    held_out = len(order) // 5
    return _rows(states, order[held_out:]), _rows(states, order[:held_out] if held_out else order)


def _rows(states: Observation, rows: Iterable[int]) -> Observation:
    index = np.asarray(list(rows))
    return {name: entry[index] for name, entry in states.items()} if isinstance(states, dict) else states[index]
