"""TD3 and DDPG: a deterministic spiking actor."""

from typing import Any

from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn

from sb3_spiking.policies.off_policy import SpikingActor, SpikingActorPolicy
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.snn import NetworkSpec


class SpikingTD3Actor(SpikingActor, Actor):
    """TD3's actor: a spiking network behind the features, and a tanh."""

    def __init__(self, *args: Any, network_spec: NetworkSpec, **kwargs: Any) -> None:
        super().__init__(*args, network_spec=network_spec, **kwargs)
        action_dim = get_action_dim(self.action_space)
        self.mu = network_spec.build(self.features_dim, action_dim, self.net_arch, nn.Tanh())


class SpikingTD3Policy(SpikingActorPolicy, TD3Policy):
    """
    SB3's TD3 policy with a spiking actor.

    With SB3's default rate of 1e-3 the actor learns at 3e-4, between PopSAN's 1e-4 and the critic's rate.
    """

    actor_class = SpikingTD3Actor
    draws_actions = False
    default_actor_lr_scale = 0.3


class PopSANPolicy(PopulationCoded, SpikingTD3Policy):
    """Population-coded spiking actor for TD3 and DDPG (Tang et al., CoRL 2020)."""


class SpikingMlpPolicy(DirectCurrent, SpikingTD3Policy):
    """Spiking actor on direct currents for TD3 and DDPG."""


class SpikingCnnPolicy(Images, SpikingTD3Policy):
    """Spiking convolutional actor for TD3 and DDPG."""


class SpikingMultiInputPolicy(Dictionaries, SpikingTD3Policy):
    """Spiking actor on Dict observations for TD3 and DDPG."""
