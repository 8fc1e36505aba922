"""Conversion of trained DQNs to spiking networks."""

from typing import Any

from sb3_spiking.conversion.agent import load_dqn
from sb3_spiking.conversion.callback import ConversionCallback
from sb3_spiking.conversion.codings import CODINGS
from sb3_spiking.conversion.converter import calibration_states, convert
from sb3_spiking.conversion.methods import METHODS, make_method
from sb3_spiking.conversion.policy import DenseQPolicy, SpikingQPolicy
from sb3_spiking.conversion.report import Report, compare
from sb3_spiking.conversion.studies import Study, study
from sb3_spiking.conversion.sweep import sweep
from sb3_spiking.environments.recipe import EnvRecipe
from sb3_spiking.notices import warn

__all__ = [
    "CODINGS",
    "METHODS",
    "ConversionCallback",
    "DenseQPolicy",
    "EnvRecipe",
    "Report",
    "SpikingQPolicy",
    "Study",
    "calibration_states",
    "compare",
    "convert",
    "load_dqn",
    "make_method",
    "study",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "EnvSpec":
        warn("sb3_spiking.conversion.EnvSpec is EnvRecipe now: gymnasium has an EnvSpec of another kind.")
        return EnvRecipe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
