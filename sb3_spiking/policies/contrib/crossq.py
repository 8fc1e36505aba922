"""CrossQ: SAC's spiking actor beside critics with batch renormalisation."""

from typing import Any, ClassVar

from gymnasium import spaces
from sb3_contrib.crossq.policies import Actor, CrossQPolicy

from sb3_spiking.policies.common import NetArch
from sb3_spiking.policies.off_policy import SpikingActorPolicy
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.sac import GaussianSpikingActor


class SpikingCrossQActor(GaussianSpikingActor, Actor):
    """
    CrossQ's actor with a spiking mean and without batch renormalisation.

    The normalisation that CrossQ replaces its targets with is the critic's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "batch_norm": False})


class SpikingCrossQPolicy(SpikingActorPolicy, CrossQPolicy):
    """SB3's CrossQ policy with a spiking actor."""

    actor_class = SpikingCrossQActor
    default_net_arch: ClassVar[NetArch] = {"pi": [256, 256], "qf": [1024, 1024]}


class PopSANPolicy(PopulationCoded, SpikingCrossQPolicy):
    """Population-coded spiking actor for CrossQ (Tang et al., CoRL 2020)."""


class SpikingMlpPolicy(DirectCurrent, SpikingCrossQPolicy):
    """Spiking actor on direct currents for CrossQ."""


class SpikingCnnPolicy(Images, SpikingCrossQPolicy):
    """Spiking convolutional actor for CrossQ."""


class SpikingMultiInputPolicy(Dictionaries, SpikingCrossQPolicy):
    """Placeholder that raises: CrossQ's critic cannot join Dict observations into one batch."""

    @classmethod
    def check_observation_space(cls, space: spaces.Space, normalized_image: bool) -> None:
        super().check_observation_space(space, normalized_image)
        raise ValueError(
            "CrossQ cannot take Dict observations, with any policy: its critic joins observations and next "
            "observations into one batch. Use TQC or SAC, or wrap the environment in "
            "gymnasium.wrappers.FlattenObservation"
        )
