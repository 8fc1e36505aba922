"""TQC: SAC's spiking actor beside quantile critics."""

from sb3_contrib.tqc.policies import Actor, TQCPolicy

from sb3_spiking.policies.off_policy import SpikingActorPolicy
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.sac import GaussianSpikingActor


class SpikingTQCActor(GaussianSpikingActor, Actor):
    """TQC's actor with a spiking mean."""


class SpikingTQCPolicy(SpikingActorPolicy, TQCPolicy):
    """SB3's TQC policy with a spiking actor."""

    actor_class = SpikingTQCActor


class PopSANPolicy(PopulationCoded, SpikingTQCPolicy):
    """Population-coded spiking actor for TQC (Tang et al., CoRL 2020)."""


class SpikingMlpPolicy(DirectCurrent, SpikingTQCPolicy):
    """Spiking actor on direct currents for TQC."""


class SpikingCnnPolicy(Images, SpikingTQCPolicy):
    """Spiking convolutional actor for TQC."""


class SpikingMultiInputPolicy(Dictionaries, SpikingTQCPolicy):
    """Spiking actor on Dict observations for TQC."""
