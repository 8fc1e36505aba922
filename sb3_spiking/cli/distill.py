"""Teach a spiking student the actions of a trained agent, and print and write the report."""

import argparse
import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.preprocessing import is_image_space

from sb3_spiking.cli import environment
from sb3_spiking.cli.agents import NAMED, load_model
from sb3_spiking.cli.console import out, progress, table, warn
from sb3_spiking.cli.foreign import check_agent
from sb3_spiking.cli.options import as_options, check_counts
from sb3_spiking.conversion.saving import is_converted
from sb3_spiking.distillation.dagger import Budget, distill
from sb3_spiking.distillation.dataset import LabelledStates
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.files import output_files, replacing
from sb3_spiking.printable import printable
from sb3_spiking.reading.archive import TRUST, CheckpointError
from sb3_spiking.reading.inspection import inspect_zip
from sb3_spiking.reading.spiking_model import read_spaces

OPTIONS = {"path": "output", "overwrite": "force", "max_steps": "max-episode-steps"}
CONTRIB = ("CrossQ", "MaskablePPO", "QRDQN", "TQC", "TRPO")
"""Algorithms of sb3-contrib that have spiking policies."""
BUFFER_SIZE = 1_000_000
"""SB3's default, which the written student has when it is trained further."""


def run(args: argparse.Namespace) -> None:
    """
    Distil an agent.

    :param args: parsed options
    :raises ValueError: if an input is invalid; nothing is written then
    """
    check_agent(args.path)
    if is_converted(args.path):
        raise ValueError(f"{args.path} is a converted network, which spikes already; sb3-spiking evaluate plays it")
    target: Path = args.output or args.path.with_name(f"{args.path.stem}_student.zip")
    if target.resolve() == args.path.resolve():
        raise ValueError(f"--output {target} is the teacher; choose another name")
    with as_options(**OPTIONS):
        outputs = output_files(target, (".zip", ".json"), args.force)
    check_counts(args, "episodes", "max_episode_steps", *(["time_steps"] if args.time_steps is not None else []))
    if any(size < 1 for size in args.net_arch or []):
        raise ValueError(f"--net-arch {' '.join(map(str, args.net_arch))}: every size must be at least 1")
    with as_options(**OPTIONS):
        budget = Budget(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Budget)})
    algorithm = _algorithm(args)
    if not args.trust:
        raise CheckpointError(f"{args.path}: is a {algorithm.__name__} model of SB3; ", *TRUST)
    # Loading takes seconds: where the spaces can be read as data, a missing environment is reported before it.
    spaces = read_spaces(args.path)
    known = None if spaces is None else environment.known_env_of(args, *spaces)
    if spaces is not None:
        LabelledStates(spaces[0], args.steps)  # an error if they would take too much memory
    environment.offer_module(inspect_zip(args.path).policy_class or "")  # may be the user's own
    teacher = load_model(args.path, algorithm)
    recipe = known or environment.known_env_of(args, teacher.observation_space, teacher.action_space)
    student = _student(args, algorithm, recipe)
    with progress("teaching", budget.steps + budget.all_gradient_steps) as advance, as_options(**OPTIONS):
        report = distill(
            teacher,
            student,
            recipe,
            episodes=args.episodes,
            max_steps=args.max_episode_steps,
            seed=args.seed,
            progress=advance,
            **dataclasses.asdict(budget),
        )
    if report.cut:
        warn(environment.cut_text(report.cut, args.max_episode_steps))
    table(("", "teacher", "student"), report.rows())
    with replacing(*outputs) as (model, numbers):
        student.save(model)
        numbers.write_text(report.to_json() + "\n")
    out.print("\nwritten: " + ", ".join(printable(str(path)) for path in outputs), markup=False)


def _algorithm(args: argparse.Namespace) -> type[BaseAlgorithm]:
    """Return the algorithm of teacher and student."""
    contents = inspect_zip(args.path)
    name = (args.algo or contents.algorithm or "").lower()
    if name in NAMED:
        return NAMED[name]
    if args.algo is not None:
        raise ValueError(f"--algo {args.algo} is unknown; choose one of: {', '.join(NAMED)}")
    if contents.algorithm is None:
        raise ValueError(f"{args.path}: has a policy of its own; say with --algo which algorithm it is for")
    if contents.algorithm in CONTRIB:
        raise ValueError(f"{args.path}: is a {contents.algorithm}, which needs sb3-contrib; pip install sb3-contrib")
    raise ValueError(
        f"{args.path}: is a {contents.algorithm}, which has no spiking policies; in Python, sb3_spiking.distill takes "
        "a student of another algorithm"
    )


def _student(args: argparse.Namespace, algorithm: type[BaseAlgorithm], recipe: EnvRecipe) -> BaseAlgorithm:
    """Make the untrained student."""
    policy_kwargs: dict[str, Any] = {}
    if args.time_steps is not None:
        policy_kwargs["time_steps"] = args.time_steps
    if args.net_arch is not None:
        policy_kwargs["net_arch"] = args.net_arch
    settings: dict[str, Any] = {"policy_kwargs": policy_kwargs, "seed": args.seed, "device": "cpu"}
    if issubclass(algorithm, OffPolicyAlgorithm):
        settings["buffer_size"] = 1  # nothing is stored in it
    with closing(recipe.make(1, args.seed)) as env:
        student = algorithm(args.policy or _policy_for(env.observation_space), env, **settings)
    if isinstance(student, OffPolicyAlgorithm):
        student.buffer_size = BUFFER_SIZE
    return student


def _policy_for(space: gym.Space) -> str:
    if isinstance(space, gym.spaces.Dict):
        return "SpikingMultiInputPolicy"
    return "SpikingCnnPolicy" if is_image_space(space) else "PopSANPolicy"
