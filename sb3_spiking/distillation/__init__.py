"""Distillation: a spiking student learns the actions of a trained teacher, on the states that the student meets."""

from sb3_spiking.distillation.dagger import distill
from sb3_spiking.distillation.report import Distillation

__all__ = ["Distillation", "distill"]
