"""Warnings whose place is the user's own line, not one of this package or of what calls it."""

import sys
import warnings
from types import FrameType

LIBRARIES = frozenset(
    (
        *("contextlib", "functools", "importlib"),
        *("rl_zoo3", "sb3_contrib", "stable_baselines3", "torch"),
        *("sb3_spiking", "sb3_spiking_cli"),
    )
)
"""Packages between a user's line and a warning of this package."""


def warn(message: str) -> None:
    """
    Warn of something in the user's program.

    ``skip_file_prefixes`` of ``warnings.warn`` would do this from Python 3.12 on.

    :param message: what is wrong, and what helps
    """
    frame = _users_frame(sys._getframe(1))
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(message, UserWarning, frame.f_code.co_filename, frame.f_lineno, module, registry)


def _users_frame(frame: FrameType) -> FrameType:
    """Return the innermost frame that is not a library's; the outermost one if all of them are."""
    while frame.f_back is not None and _package(frame) in LIBRARIES:
        frame = frame.f_back
    return frame


def _package(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__") or ""
    return name.partition(".")[0]
