"""Handing over to rl_zoo3: an extra, imported when it is asked for."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the options that both commands look at themselves; the others are left for rl_zoo3.

    :param parser: of a command
    """
    parser.allow_abbrev = False  # a short form may be one of rl_zoo3's
    parser.set_defaults(hands_on=True)
    parser.add_argument("--algo", required=True, metavar="NAME", help="as rl_zoo3 writes it: ppo, sac, ...")
    parser.add_argument("--env", required=True, metavar="ID", help="id of gymnasium")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """
    Add ``--quiet``, last as in the other commands.

    :param parser: of a command
    """
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")


def script(name: str) -> Callable[[], None]:
    """
    Return one of rl_zoo3's scripts, which read their options from ``sys.argv``.

    :param name: ``"train"`` or ``"enjoy"``
    :return: what runs it
    :raises ImportError: if rl_zoo3 is not installed
    """
    try:
        module = import_module(f"rl_zoo3.{name}")
    except ModuleNotFoundError as error:
        raise ImportError(f'{name} needs rl_zoo3 ({error}); pip install "sb3-spiking[zoo]"') from error
    function: Callable[[], None] = getattr(module, name)
    return function


def hand_over(function: Callable[[], None], command: str, env: str, words: Sequence[str], quiet: bool) -> None:
    """
    Run a script of rl_zoo3 in this process, where the policies are registered.

    :param function: the script
    :param command: name of our command, for its messages
    :param env: id of the environment
    :param words: options
    :param quiet: drop what it prints
    :raises ImportError: if the environment's package is not installed
    """
    if env.startswith("MinAtar/"):
        _register_minatar()
    with _argv([f"sb3-spiking {command}", *words]), _silence() if quiet else nullcontext():
        function()


def _register_minatar() -> None:
    try:
        from minatar.gym import register_envs
    except ImportError as error:
        raise ImportError('MinAtar is not installed; pip install "sb3-spiking[minatar]"') from error
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
