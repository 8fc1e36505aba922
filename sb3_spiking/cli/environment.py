"""Environment of an agent: named by the options, or else by its file."""

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gymnasium import spaces

from sb3_spiking.cli.console import note, warn
from sb3_spiking.conversion.policy import SpikingQPolicy
from sb3_spiking.environments.from_files import find_env
from sb3_spiking.environments.guarded import noted_recipe
from sb3_spiking.environments.recipe import EnvRecipe, check_spaces
from sb3_spiking.errors import Argument, InputError
from sb3_spiking.printable import one_line

OPTIONS = {"kwargs": "env-kwargs"}
"""Argument of the library -> option, where the names differ."""


def in_options(*parts: object) -> str:
    """Join texts, arguments, environments and errors of the library to a text that names options."""
    return "".join(map(_in_options, parts))


def _in_options(part: object) -> str:
    match part:
        case InputError():
            return one_line(in_options(*part.parts))
        case EnvRecipe():
            return " ".join(map(_option, part.arguments()))
        case Argument():
            return _option(part)
        case _:
            return str(part)


def _option(argument: Argument) -> str:
    option, value = "--" + OPTIONS.get(argument.name, argument.name).replace("_", "-"), argument.value
    if value is ... or value is True:
        return option
    return f"{option} {shlex.quote(json.dumps(value) if isinstance(value, Mapping) else str(value))}"


def cut_text(episodes: int, steps: int) -> str:
    """Return a warning about episodes that were cut after so many steps."""
    return (
        f"episodes that did not end within {steps} steps and were cut: {episodes}; "
        "their returns are what they had until then (--max-episode-steps)"
    )


def env_of(args: argparse.Namespace, observation_space: spaces.Space, action_space: spaces.Space) -> EnvRecipe | None:
    """
    Return the environment named by the options, or else by the agent's file ``args.path``; None if neither names one.

    :raises ValueError: if the environment of the options does not fit the agent
    """
    if args.env is not None:
        find_module(args.env)
        stack = args.frame_stack if args.frame_stack is not None else (4 if args.atari else 0)
        recipe = EnvRecipe(args.env, args.env_kwargs, args.atari, stack, args.vec_normalize)
        check_spaces(recipe, observation_space, action_space)
        return recipe
    if given := _given(args):
        raise ValueError(f"--{next(iter(given)).replace('_', '-')} needs --env")
    found = find_env(args.path, observation_space, action_space)
    if found is None:
        return None
    (note if found.recipe else warn)(in_options(*found.parts))
    return found.recipe


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options beside --env that the user has given, a stack of 0 frames among them."""
    options = {name: getattr(args, name) for name in ("env_kwargs", "atari", "frame_stack", "vec_normalize")}
    return {name: value for name, value in options.items() if value is not None and value is not False and value != {}}


def find_module(env: str) -> None:
    """
    Let the module of an id ``module:id``, given by the user, be imported from the working directory.

    Only that module is looked for there, and an installed one comes first: other files in the folder run nothing.

    :raises ValueError: if there is no such module
    """
    module, colon, _ = env.partition(":")
    if colon and not offer_module(module):
        here = Path.cwd()
        raise ValueError(f"--env {env}: there is no module {module!r}, neither installed nor in the folder {here}")


def offer_module(module: str) -> bool:
    """Make a trusted module importable from the working directory if it is not installed; return whether it exists."""
    top = module.partition(".")[0]
    if top in sys.modules or (top.isidentifier() and find_spec(top) is not None):
        return True
    here = Path.cwd()
    if not ((here / f"{top}.py").is_file() or (here / top).is_dir()):
        return False
    sys.path.append(str(here))
    return True


def env_of_converted(args: argparse.Namespace, snn: SpikingQPolicy) -> EnvRecipe:
    """
    Return the environment named by the options, or else by the note of the conversion, or else by the file's path.

    :raises ValueError: if there is none, or it does not fit the agent
    """
    noted = snn.origin.get("env")
    if args.env is None and noted is not None:
        changes = {option.removeprefix("env_"): value for option, value in _given(args).items()}
        recipe = dataclasses.replace(noted_recipe(args.path, noted, args.vec_normalize), **changes)
        check_spaces(recipe, snn.observation_space, snn.action_space)
        note(in_options(f"{args.path} was converted with ", recipe))
        return recipe
    return known_env_of(args, snn.observation_space, snn.action_space)


def known_env_of(args: argparse.Namespace, observation_space: spaces.Space, action_space: spaces.Space) -> EnvRecipe:
    """
    Return the environment of `env_of`.

    :raises ValueError: if there is none, or it does not fit the agent
    """
    found = env_of(args, observation_space, action_space)
    if found is None:
        raise ValueError("no environment is known; pass --env ID")
    return found
