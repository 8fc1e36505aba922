"""PopSAN for TD3 and DDPG: a spiking actor; the critics stay SB3's."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.td3.policies import Actor, TD3Policy

from sb3_spiking.policies.common import PopSANPolicyMixin
from sb3_spiking.policies.learning_rate import attach_hooks, scale_learning_rate
from sb3_spiking.snn import PopSAN, PopSANOptions
from sb3_spiking.snn.arguments import positive_float


class PopSANActor(Actor):
    """
    TD3's actor with a PopSAN as ``mu``.

    :param popsan_options: keyword arguments of the spiking network
    :param args: arguments of SB3's actor
    :param kwargs: arguments of SB3's actor
    """

    mu: PopSAN  # type: ignore[assignment]

    def __init__(self, *args: Any, popsan_options: PopSANOptions, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.popsan_options = popsan_options
        self.mu = PopSAN(self.features_dim, get_action_dim(self.action_space), self.net_arch, popsan_options)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "popsan_options": self.popsan_options}

    @th.no_grad()
    def features(self, observations: th.Tensor) -> th.Tensor:
        """
        Return what the spiking network sees; looking does not change the observation statistics.

        :param observations: raw observations, ``[N, *shape]``
        :return: normalised observations, ``[N, features_dim]``
        """
        training = self.training
        self.set_training_mode(False)
        try:
            return self.extract_features(observations, self.features_extractor)
        finally:
            self.set_training_mode(training)


class PopSANPolicy(PopSANPolicyMixin, TD3Policy):
    """
    Population-coded spiking actor for TD3 and DDPG (Tang et al., CoRL 2020).

    :param args: see [`PopSANPolicyMixin`][sb3_spiking.policies.common.PopSANPolicyMixin]
    :param actor_lr_scale: the actor's learning rate as a multiple of the algorithm's, > 0. With SB3's default of 1e-3
        the actor learns at 3e-4, between the paper's 1e-4 and the critic's rate.
    :param kwargs: see [`PopSANPolicyMixin`][sb3_spiking.policies.common.PopSANPolicyMixin] and SB3's ``TD3Policy``
    :raises ValueError: if an argument is not allowed or the observation space is not a vector Box
    """

    actor: PopSANActor
    actor_target: PopSANActor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *args: Any,
        actor_lr_scale: float = 0.3,
        **kwargs: Any,
    ) -> None:
        self.actor_lr_scale = positive_float("actor_lr_scale", actor_lr_scale)
        super().__init__(observation_space, action_space, lr_schedule, *args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        scale_learning_rate(self.actor.optimizer, self.actor_lr_scale)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        attach_hooks(self.actor.optimizer)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> PopSANActor:
        actor_kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return PopSANActor(**actor_kwargs, popsan_options=self.popsan_options).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "actor_lr_scale": self.actor_lr_scale}
