"""PPO, A2C and TRPO: a spiking actor that outputs the parameters of the action distribution."""

from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_spiking.notices import warn
from sb3_spiking.policies.action_map import ActionMap
from sb3_spiking.policies.actor_rate import ScaledActorRate
from sb3_spiking.policies.common import NetArch, arch_of
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.rollouts import FollowsRollouts
from sb3_spiking.snn import SpikingNetwork

if TYPE_CHECKING:
    SB3Policy = ActorCriticPolicy
else:
    SB3Policy = BasePolicy

ACTION_GAIN = 0.01
"""Gain of the last layer under SB3's ``ortho_init``: the first policy hardly depends on the observation."""


class SpikingActorCritic(FollowsRollouts, ScaledActorRate, SB3Policy):
    """
    A spiking ``action_net`` behind the features, an ANN critic, and SB3's action distributions.

    :param observation_space: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param action_space: Box, Discrete, MultiDiscrete or MultiBinary
    :param lr_schedule: learning rate as a function of the remaining progress; spiking actors are reported to die under
        schedules that adapt to the KL divergence
    :param net_arch: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]; keys ``pi`` and ``vf``
    :param kwargs: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy], and ``actor_lr_scale``, which TRPO
        does not use: it steps its actor without a learning rate
    :raises ValueError: if an argument is not allowed
    """

    critic_key = "vf"
    deferred_statistics = True
    default_net_arch: ClassVar[NetArch] = {"pi": [64, 64], "vf": [64, 64]}
    critic_behind_images: ClassVar[list[int]] = []

    action_net: Any  # a SpikingNetwork, a linear layer for SB3

    if TYPE_CHECKING:  # other signatures in MaskablePPO's policy
        action_dist: Any
        evaluate_actions: Any
        get_distribution: Any
        _get_action_dist_from_latent: Any
        _predict: Any

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("encoder") == "poisson":
            warn(
                "encoder='poisson' draws other spikes each time, so the policy that is trained is not the one that "
                "acted: probability ratios and KL divergences are noisy. encoder='deterministic' is exact.",
            )
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def _build_mlp_extractor(self) -> None:
        if not self.share_features_extractor:
            self.vf_features_extractor = self.make_critic_features_extractor()
        # Hidden layers of the critic alone: the spiking network reads the features.
        critic = {"pi": [], "vf": arch_of(self.net_arch, "vf")}
        critic_features = self.vf_features_extractor.features_dim
        self.mlp_extractor = MlpExtractor(critic_features, critic, self.activation_fn, self.device)
        self.mlp_extractor.latent_dim_pi = self.features_dim

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        # SB3's linear layer has as many outputs as the action distribution has parameters.
        outputs = self.action_net.out_features
        self.action_net = self.network_spec.build(self.features_dim, outputs, arch_of(self.net_arch, "pi"))
        if self.ortho_init:
            nn.init.orthogonal_(self.action_net.decoder.weight, ACTION_GAIN)
            nn.init.zeros_(self.action_net.decoder.bias)
        self.make_actor_optimizer(lr_schedule)
        self.begin_training()

    @property
    def spiking_network(self) -> SpikingNetwork:
        return self.action_net

    def action_map(self) -> ActionMap:
        # gSDE with squash_output: the mean goes through a tanh.
        return ActionMap(self.action_space, unscaled=self.squash_output, squashed=self.squash_output)

    def _actor_and_extractor(self) -> tuple[BaseModel, BaseFeaturesExtractor]:
        return self, self.pi_features_extractor


class SpikingActorCriticPolicy(SpikingActorCritic, ActorCriticPolicy):
    """SB3's actor-critic policy with a spiking actor."""


class PopSANPolicy(PopulationCoded, SpikingActorCriticPolicy):
    """Population-coded spiking actor for PPO, A2C and TRPO (Tang et al., CoRL 2020)."""


class SpikingMlpPolicy(DirectCurrent, SpikingActorCriticPolicy):
    """Spiking actor on direct currents for PPO, A2C and TRPO."""


class SpikingCnnPolicy(Images, SpikingActorCriticPolicy):
    """Spiking convolutional actor for PPO, A2C and TRPO."""


class SpikingMultiInputPolicy(Dictionaries, SpikingActorCriticPolicy):
    """Spiking actor on Dict observations for PPO, A2C and TRPO."""
