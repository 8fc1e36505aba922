"""Calls of rl_zoo3, an extra that is imported on use."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from sb3_spiking.cli.environment import find_module
from sb3_spiking.extras import install_hint


def script(name: str) -> Callable[[], None]:
    """
    Return a script of rl_zoo3, which reads its options from ``sys.argv``.

    :param name: ``"train"`` or ``"enjoy"``
    :return: main function of the script
    :raises ImportError: if rl_zoo3 is not installed
    """
    try:
        module: Any = import_module(f"rl_zoo3.{name}")
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs rl_zoo3 ({error}); {install_hint('zoo')}") from error
    if name == "train":
        from sb3_spiking.zoo.manager import SpikingExperimentManager

        module.ExperimentManager = SpikingExperimentManager
    function: Callable[[], None] = getattr(module, name)
    return function


def import_environment(env: str) -> str:
    """
    Import the module that registers an environment.

    :param env: id that the user typed, also ``module:id``
    :return: id without the module, as rl_zoo3 takes it
    :raises ValueError: if there is no such module
    :raises ImportError: if the environment's package is not installed
    """
    find_module(env)
    module, colon, name = env.partition(":")
    if colon:
        import_module(module)
        return name
    if env.startswith("MinAtar/"):
        _register_minatar()
    return env


def hand_over(function: Callable[[], None], command: str, words: Sequence[str], quiet: bool) -> None:
    """
    Run a script of rl_zoo3 in this process, where policies and environments are registered.

    :param function: main function of the script
    :param command: name of our command, for messages of the script
    :param words: options of the script
    :param quiet: whether its output is dropped
    """
    with _argv([f"sb3-spiking {command}", *words]), _silence() if quiet else nullcontext():
        function()


def _register_minatar() -> None:
    try:
        from minatar.gym import register_envs
    except ImportError as error:
        raise ImportError(f"MinAtar is not installed; {install_hint('minatar')}") from error
    register_envs()


@contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = words
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield
