"""MaskablePPO: a spiking actor whose invalid actions are masked."""

from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from sb3_spiking.policies.on_policy import SpikingActorCritic
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded


class SpikingMaskablePolicy(SpikingActorCritic, MaskableActorCriticPolicy):
    """SB3's maskable actor-critic policy with a spiking actor."""


class PopSANPolicy(PopulationCoded, SpikingMaskablePolicy):
    """Population-coded spiking actor for MaskablePPO."""


class SpikingMlpPolicy(DirectCurrent, SpikingMaskablePolicy):
    """Spiking actor on direct currents for MaskablePPO."""


class SpikingCnnPolicy(Images, SpikingMaskablePolicy):
    """Spiking convolutional actor for MaskablePPO."""


class SpikingMultiInputPolicy(Dictionaries, SpikingMaskablePolicy):
    """Spiking actor on Dict observations for MaskablePPO."""
