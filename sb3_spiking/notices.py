"""Warnings that point at the user's own line."""

import sys
import warnings
from functools import cache
from types import FrameType

LIBRARIES = frozenset(
    (
        *("contextlib", "functools", "importlib"),
        *("rl_zoo3", "sb3_contrib", "stable_baselines3", "torch"),
        *("sb3_spiking", "sb3_spiking_cli"),
    )
)
"""Packages whose frames are skipped."""


def warn(message: str) -> None:
    """
    Warn at the user's own line; Python 3.12 has ``skip_file_prefixes`` of ``warnings.warn`` for this.

    :param message: problem and remedy
    """
    frame = _users_frame(sys._getframe(1))
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(message, UserWarning, frame.f_code.co_filename, frame.f_lineno, module, registry)


@cache
def warn_once(message: str) -> None:
    """
    Warn, once in a process.

    :param message: problem and remedy
    """
    warn(message)


def _users_frame(frame: FrameType) -> FrameType:
    """Return the innermost frame outside the libraries, or else the outermost one."""
    while frame.f_back is not None and _package(frame) in LIBRARIES:
        frame = frame.f_back
    return frame


def _package(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__") or ""
    return name.partition(".")[0]
