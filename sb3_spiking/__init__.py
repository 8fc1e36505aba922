"""Spiking policies for Stable-Baselines3. Importing the package makes them known to SB3's algorithms."""

from sb3_spiking.callbacks import SpikeMonitorCallback, SurrogateScheduleCallback
from sb3_spiking.environments import make_atari_env, make_minatar_env
from sb3_spiking.policies import PopSANPolicy
from sb3_spiking.popsan_checkpoint import load_popsan_checkpoint
from sb3_spiking.registry import ALGORITHMS, register

__version__ = "0.1.0"

__all__ = [
    "PopSANPolicy",
    "SpikeMonitorCallback",
    "SurrogateScheduleCallback",
    "__version__",
    "load_popsan_checkpoint",
    "make_atari_env",
    "make_minatar_env",
    "register",
]

register(*ALGORITHMS)
