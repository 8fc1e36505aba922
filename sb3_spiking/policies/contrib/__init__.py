"""Policies for sb3-contrib, which is imported in this package alone."""

from types import ModuleType

from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
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
"""sb3-contrib's policy class of a family of algorithms -> module with the spiking policies of the family."""

ALGORITHMS: tuple[type[BaseAlgorithm], ...] = (TQC, CrossQ, TRPO, MaskablePPO, QRDQN)
"""Algorithms of sb3-contrib with spiking policies; TRPO's are those of PPO."""

UNAVAILABLE: dict[type[BaseAlgorithm], str] = {
    RecurrentPPO: "its policies carry a state from step to step, while a decision of these spiking networks begins and "
    "ends at rest. Use PPO with the same name; where one observation does not say enough, stack frames (VecFrameStack)",
    ARS: "it searches among random weights, without gradients. Use PPO, SAC or TD3 with the same name",
}
"""Algorithm without a spiking policy -> reason."""
