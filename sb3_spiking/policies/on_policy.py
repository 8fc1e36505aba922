"""PPO, A2C and TRPO: a spiking actor whose outputs are the parameters of the action distribution."""

from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_spiking.arguments import positive_float
from sb3_spiking.notices import warn
from sb3_spiking.optimizers.learning_rate import attach_hooks, scaled_optimizer
from sb3_spiking.policies.common import NetArch, SpikingPolicy, arch_of
from sb3_spiking.policies.observations import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.rollouts import FollowsRollouts
from sb3_spiking.snn import SpikingNetwork

ACTION_GAIN = 0.01
"""Gain of the last layer under SB3's ``ortho_init``: at first the policy hardly depends on the observation."""


class SpikingActorCritic(FollowsRollouts, SpikingPolicy):
    """
    A spiking ``action_net`` on the features, an ANN critic beside it, and SB3's action distributions.

    :param observation_space: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param action_space: Box, Discrete, MultiDiscrete or MultiBinary
    :param lr_schedule: learning rate as a function of the remaining progress; keep it fixed, spiking actors are
        reported to die under schedules that adapt to the KL divergence
    :param net_arch: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]; keys ``pi`` and ``vf``
    :param actor_lr_scale: learning rate of the spiking network as a multiple of the algorithm's, > 0 (TRPO steps its
        actor without a learning rate)
    :param kwargs: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :raises ValueError: if an argument is not allowed
    """

    critic_key = "vf"
    deferred_statistics = True
    default_net_arch: ClassVar[NetArch] = {"pi": [64, 64], "vf": [64, 64]}
    critic_behind_images: ClassVar[list[int]] = []

    # What SB3's policy class, behind this one, sets.
    action_net: Any
    activation_fn: Any
    device: th.device
    features_dim: Any
    net_arch: Any
    optimizer: Any
    optimizer_class: Any
    optimizer_kwargs: dict[str, Any]
    ortho_init: bool
    pi_features_extractor: Any
    vf_features_extractor: Any

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        *,
        actor_lr_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.actor_lr_scale = positive_float("actor_lr_scale", actor_lr_scale)
        if kwargs.get("encoder") == "poisson":
            warn(
                "encoder='poisson' draws other spikes each time, so the policy that is trained is not the one that "
                "acted: probability ratios and KL divergences are noisy. encoder='deterministic' is exact.",
            )
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def _build_mlp_extractor(self) -> None:
        if not self.share_features_extractor:
            self.vf_features_extractor = self.make_critic_features_extractor()
        # The critic's hidden layers alone: the actor reads the features themselves.
        critic = {"pi": [], "vf": arch_of(self.net_arch, "vf")}
        critic_features = self.vf_features_extractor.features_dim
        self.mlp_extractor = MlpExtractor(critic_features, critic, self.activation_fn, self.device)
        self.mlp_extractor.latent_dim_pi = self.features_dim

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        # SB3's linear layer tells how many numbers the action distribution needs.
        outputs = self.action_net.out_features
        self.action_net = self.spiking.build(self.features_dim, outputs, arch_of(self.net_arch, "pi"))
        if self.ortho_init:
            nn.init.orthogonal_(self.action_net.decoder.weight, ACTION_GAIN)
            nn.init.zeros_(self.action_net.decoder.bias)
        self.optimizer = scaled_optimizer(
            self.optimizer_class,
            self.parameters(),  # type: ignore[attr-defined]
            self.action_net.parameters(),
            self.actor_lr_scale,
            lr=lr_schedule(1),
            **self.optimizer_kwargs,
        )
        self.begin_training()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        attach_hooks(self.optimizer)

    @property
    def spiking_network(self) -> SpikingNetwork:
        return self.action_net

    def _seeing(self) -> tuple[BaseModel, BaseFeaturesExtractor]:
        return self, self.pi_features_extractor  # type: ignore[return-value]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "actor_lr_scale": self.actor_lr_scale}


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
