"""The environment an agent lives in: the one that the options name, or else its file."""

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
"""Argument of the library -> option, where their names differ."""


def in_options(*parts: object) -> str:
    """
    Return a text with options in place of the library's arguments.

    :param parts: texts, arguments, environments and errors
    """
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
    """
    Return what to say of episodes that were cut.

    :param episodes: number of episodes
    :param steps: number of steps after which they were cut
    """
    return (
        f"episodes that did not end within {steps} steps and were cut: {episodes}; "
        "their returns are what they had until then (--max-episode-steps)"
    )


def env_of(args: argparse.Namespace, observation_space: spaces.Space, action_space: spaces.Space) -> EnvRecipe | None:
    """
    Return the environment that the options name, or else the agent's file.

    :param args: parsed options; ``args.path`` is the agent's file
    :param observation_space: the agent's
    :param action_space: the agent's
    :return: the environment, checked; None if nothing names a usable one
    :raises ValueError: if the options name one that is not the agent's
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
    """Return the options beside --env that the user has given; a stack of 0 frames is one."""
    options = {name: getattr(args, name) for name in ("env_kwargs", "atari", "frame_stack", "vec_normalize")}
    return {name: value for name, value in options.items() if value is not None and value is not False and value != {}}


def find_module(env: str) -> None:
    """
    Let the module in ``module:id`` be found in the working directory, as it is by ``python -m``.

    Only a module that the user has named is looked for there, and one that is installed comes first: a folder of
    strangers' files runs nothing unasked.

    :param env: an environment's id, of the user's own words
    :raises ValueError: if there is no such module
    """
    module, colon, _ = env.partition(":")
    if colon and not offer_module(module):
        here = Path.cwd()
        raise ValueError(f"--env {env}: there is no module {module!r}, neither installed nor in the folder {here}")


def offer_module(module: str) -> bool:
    """
    Let a module in the working directory be imported, if it is not installed.

    :param module: its name, of the user's own words or of a file that the user trusts
    :return: whether there is one
    """
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
    Return the environment that the options name, or else the one of the conversion, or that of the file's name.

    :param args: parsed options; ``args.path`` is the policy's file
    :param snn: the converted policy
    :return: the environment, checked
    :raises ValueError: if there is none, or it is not the agent's
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
    Return what `env_of` does where an environment is needed.

    :param args: parsed options
    :param observation_space: the agent's
    :param action_space: the agent's
    :return: the environment, checked
    :raises ValueError: if there is none, or it is not the agent's
    """
    found = env_of(args, observation_space, action_space)
    if found is None:
        raise ValueError("no environment is known; pass --env ID")
    return found
