"""Convert a trained DQN or QRDQN to a spiking network, and print and write the comparison."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from sb3_spiking.cli import environment
from sb3_spiking.cli.console import out, progress, table, warn
from sb3_spiking.cli.foreign import check_agent
from sb3_spiking.cli.options import as_options, check_evaluation
from sb3_spiking.conversion.agent import policy_of, read_or_trust
from sb3_spiking.conversion.agreement import Agreement
from sb3_spiking.conversion.codings import CODINGS
from sb3_spiking.conversion.dense import check_decision
from sb3_spiking.conversion.methods import Method, make_method
from sb3_spiking.conversion.policy import DenseQPolicy
from sb3_spiking.conversion.saving import is_converted
from sb3_spiking.conversion.studies import MAX_TEST_STATES, OUTPUTS, Study, study
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.errors import InputError
from sb3_spiking.evaluation.states import check_states, random_observations
from sb3_spiking.files import output_files
from sb3_spiking.observations import Observation, features_shape
from sb3_spiking.printable import printable
from sb3_spiking.reading.checkpoint import Checkpoint, CheckpointError, SpikesAlreadyError
from sb3_spiking.reading.saved_states import read_states

CONSTANTS = {field.name for coding in CODINGS.values() for field in dataclasses.fields(coding)} - {"time_steps"}
"""Constants of the codings, each with an option of its name."""
OPTIONS = {"path": "output", "overwrite": "force", "method": "coding"}


def run(args: argparse.Namespace) -> None:
    """
    Convert an agent.

    :param args: parsed options
    :raises ValueError: if an input is invalid; nothing is written then
    """
    check_agent(args.path)
    if is_converted(args.path):
        raise ValueError(f"{args.path} is converted already; sb3-spiking evaluate plays it, watch films it")
    output = _output(args)
    method = _method(args)
    check_evaluation(args, "states", "episodes", "max_episode_steps")
    if args.finetune < 0:
        raise ValueError(f"--finetune {args.finetune} must be a number of steps, 0 or more")
    given = None if args.observations is None else read_states(args.observations)
    checkpoint = _read(args.path, args.trust)
    dqn = policy_of(checkpoint)
    check_decision(dqn.network.layers, features_shape(dqn.observation_space), method.coding.time_steps)
    check_states(dqn.observation_space, args.states)
    recipe = environment.env_of(args, dqn.observation_space, dqn.action_space)
    result = study(
        checkpoint,
        recipe,
        method=method,
        **_states(args, dqn, recipe, given),
        finetune_steps=args.finetune,
        states=args.states,
        episodes=args.episodes,
        epsilon=args.epsilon,
        seed=args.seed,
        max_steps=args.max_episode_steps,
        sweep_time=args.sweep_time,
        sweep_threshold=args.sweep_threshold,
        source=args.path.name,
        stage=progress,
    )
    if cut := result.report.dqn_cut + result.report.snn_cut:
        warn(environment.cut_text(cut, args.max_episode_steps))
    _print(result, [name for name in result.sweeps if name == "threshold" or args.sweep_time])
    with as_options(**OPTIONS):
        written = result.save(output, args.force)
    out.print("\nwritten: " + ", ".join(printable(str(path)) for path in written), markup=False)


def _read(path: Path, trust: bool) -> Checkpoint:
    try:
        return read_or_trust(path, trust)
    except CheckpointError as error:
        if isinstance(error.__cause__, SpikesAlreadyError):
            raise InputError(error, "; sb3-spiking evaluate and watch play it as it is") from error
        raise


def _output(args: argparse.Namespace) -> Path:
    """Return the file of the network, checked before any work starts."""
    target: Path = args.output or args.path.with_name(f"{args.path.stem}_snn.zip")
    if target.resolve() == args.path.resolve():
        raise ValueError(f"--output {target} is the file to convert; choose another name")
    with as_options(**OPTIONS):
        output_files(target, OUTPUTS, args.force)
    return target


def _method(args: argparse.Namespace) -> Method:
    constants = {name: getattr(args, name) for name in CONSTANTS if getattr(args, name) is not None}
    with as_options(**OPTIONS):
        return make_method(args.coding, args.time_steps, args.threshold, args.per_neuron, **constants)


def _states(
    args: argparse.Namespace, dqn: DenseQPolicy, recipe: EnvRecipe | None, given: Observation | None
) -> dict[str, Any]:
    """Return the given states, or random ones if there is no environment to collect any in."""
    if given is not None or recipe is not None:
        return {"observations": given}
    warn(
        "no environment is known: thresholds are calibrated on observations drawn from the observation space, "
        "which no agent meets; --env ID gives better ones, and returns"
    )
    return {
        "observations": random_observations(dqn.observation_space, args.states, args.seed),
        "test_observations": random_observations(dqn.observation_space, MAX_TEST_STATES, args.seed + 1),
    }


def _print(result: Study, settings: list[str]) -> None:
    """Print the report, and the sweeps of some settings."""
    table(("", "DQN", f"SNN ({result.report.coding})"), result.report.rows())
    for setting in settings:
        out.print()
        rows = [(value, *_texts(agreement)) for value, agreement in result.sweeps[setting].items()]
        table((setting, "equal decisions", "by output spikes alone", "error of Q / std"), rows)


def _texts(agreement: Agreement) -> tuple[str, str, str]:
    equal, by_spikes = f"{100 * agreement.agreement:.2f} %", f"{100 * agreement.spikes_agreement:.2f} %"
    return equal, by_spikes, f"{agreement.q_error:.3g}"
