"""Policies for sb3-contrib, which is imported in this package alone."""

from types import ModuleType

from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.crossq.policies import CrossQPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_spiking.policies.contrib import crossq, maskable, qrdqn, tqc

FAMILIES: dict[type[BasePolicy], ModuleType] = {
    TQCPolicy: tqc,
    CrossQPolicy: crossq,
    MaskableActorCriticPolicy: maskable,
    QRDQNPolicy: qrdqn,
}
"""sb3-contrib's policy class of a family of algorithms -> the module with our policies for it."""

ALGORITHMS: tuple[type[BaseAlgorithm], ...] = (TQC, CrossQ, TRPO, MaskablePPO, QRDQN)
"""TRPO has SB3's own policy class."""
