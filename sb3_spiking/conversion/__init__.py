"""Conversion of trained DQNs to spiking networks."""

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
