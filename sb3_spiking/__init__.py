"""Spiking policies for Stable-Baselines3; importing the package registers their names with SB3's algorithms."""

from typing import TYPE_CHECKING, Any

from sb3_spiking.callbacks import (
    FiniteGradientsCallback,
    SpikeFigureCallback,
    SpikeMonitorCallback,
    SurrogateScheduleCallback,
    TrainingEnergyCallback,
)
from sb3_spiking.environments import make_atari_env, make_minatar_env
from sb3_spiking.policies.names import PolicyName
from sb3_spiking.policies.popsan_checkpoint import load_popsan_checkpoint
from sb3_spiking.policies.registry import ALGORITHMS, register
from sb3_spiking.versions import __version__

if TYPE_CHECKING:
    from sb3_spiking.conversion import ConversionCallback, SpikingQPolicy, compare, convert, study
    from sb3_spiking.distillation import distill

__all__ = [
    "ConversionCallback",
    "FiniteGradientsCallback",
    "PopSANPolicy",
    "SpikeFigureCallback",
    "SpikeMonitorCallback",
    "SpikingCnnPolicy",
    "SpikingMlpPolicy",
    "SpikingMultiInputPolicy",
    "SpikingQPolicy",
    "SurrogateScheduleCallback",
    "TrainingEnergyCallback",
    "__version__",
    "compare",
    "convert",
    "distill",
    "load_popsan_checkpoint",
    "make_atari_env",
    "make_minatar_env",
    "register",
    "study",
]

PopSANPolicy = PolicyName("PopSANPolicy")
SpikingMlpPolicy = PolicyName("SpikingMlpPolicy")
SpikingCnnPolicy = PolicyName("SpikingCnnPolicy")
SpikingMultiInputPolicy = PolicyName("SpikingMultiInputPolicy")

register(*ALGORITHMS)


def __getattr__(name: str) -> Any:
    # Import the converter and its kin lazily: training should not pay for them.
    if name in ("ConversionCallback", "SpikingQPolicy", "compare", "convert", "study"):
        from sb3_spiking import conversion

        return getattr(conversion, name)
    if name == "distill":
        from sb3_spiking.distillation import distill

        return distill
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
