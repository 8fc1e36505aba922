"""SAC: a stochastic actor with a spiking mean, also for TQC and CrossQ."""

from typing import TYPE_CHECKING, Any

from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import nn

from sb3_spiking.policies.off_policy import SpikingActor, SpikingActorPolicy
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.torso import AnnTorso
from sb3_spiking.snn import NetworkSpec, Part

if TYPE_CHECKING:
    SB3Actor = Actor
else:
    SB3Actor = BasePolicy


class GaussianSpikingActor(SpikingActor, SB3Actor):
    """
    Mean of the actions from a spiking network, their standard deviation from an ANN (PopSAN-SAC, Tang et al., 2020).

    With gSDE the noise is a linear map of the features, that is, of the normalised observation. Only the mean is
    needed to act deterministically, so only the spiking network is deployed.
    """

    # SB3 declares other types.
    action_dist: Any
    latent_pi: Any
    log_std: Any

    def __init__(self, *args: Any, network_spec: NetworkSpec, **kwargs: Any) -> None:
        super().__init__(*args, network_spec=network_spec, **kwargs)
        action_dim, features_dim = get_action_dim(self.action_space), self.features_dim
        # Mean and deviation both read the features: no shared hidden layers.
        self.latent_pi = nn.Identity()
        limit = None
        if isinstance(self.action_dist, StateDependentNoiseDistribution):
            _, self.log_std = self.action_dist.proba_distribution_net(
                latent_dim=features_dim, latent_sde_dim=features_dim, log_std_init=self.log_std_init
            )
            limit = nn.Hardtanh(-self.clip_mean, self.clip_mean) if self.clip_mean > 0 else None
        else:
            parts = network_spec.parts or (Part("", (features_dim,)),)
            torso = AnnTorso(parts, network_spec.options.conv_arch)
            mlp = create_mlp(torso.features, action_dim, self.net_arch, self.activation_fn)
            self.log_std = nn.Sequential(torso, *mlp)
        self.mu = network_spec.build(features_dim, action_dim, self.net_arch, limit)


class SpikingSACActor(GaussianSpikingActor, Actor):
    """SAC's actor with a spiking mean."""


class SpikingSACPolicy(SpikingActorPolicy, SACPolicy):
    """SB3's SAC policy with a spiking actor."""

    actor_class = SpikingSACActor


class PopSANPolicy(PopulationCoded, SpikingSACPolicy):
    """Population-coded spiking actor for SAC (Tang et al., CoRL 2020)."""


class SpikingMlpPolicy(DirectCurrent, SpikingSACPolicy):
    """Spiking actor on direct currents for SAC."""


class SpikingCnnPolicy(Images, SpikingSACPolicy):
    """Spiking convolutional actor for SAC."""


class SpikingMultiInputPolicy(Dictionaries, SpikingSACPolicy):
    """Spiking actor on Dict observations for SAC."""
