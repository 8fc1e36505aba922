"""What the actor-critic policies of the off-policy algorithms share: TD3, DDPG, SAC, TQC, CrossQ."""

from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_spiking.arguments import positive_float
from sb3_spiking.optimizers.learning_rate import attach_hooks, scaled_optimizer
from sb3_spiking.policies.common import NetArch, SpikingPolicy
from sb3_spiking.snn import NetworkSpec, SpikingNetwork


class SpikingActorPolicy(SpikingPolicy):
    """
    A spiking actor beside SB3's critics.

    :param observation_space: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param action_space: a Box
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]; keys ``pi`` and ``qf``
    :param actor_lr_scale: learning rate of the spiking network as a multiple of the algorithm's, > 0
    :param kwargs: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :raises ValueError: if an argument is not allowed
    """

    critic_key = "qf"
    actor_class: ClassVar[type[BasePolicy]]
    default_actor_lr_scale: ClassVar[float] = 1.0

    actor: Any
    optimizer_class: Any
    optimizer_kwargs: dict[str, Any]
    actor_kwargs: dict[str, Any]

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        *,
        actor_lr_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        scale = self.default_actor_lr_scale if actor_lr_scale is None else actor_lr_scale
        self.actor_lr_scale = positive_float("actor_lr_scale", scale)
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        self.actor.optimizer = scaled_optimizer(
            self.optimizer_class,
            self.actor.parameters(),
            self.actor.slow_parameters(),
            self.actor_lr_scale,
            lr=lr_schedule(1),
            **self.optimizer_kwargs,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        attach_hooks(self.actor.optimizer)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)  # type: ignore[attr-defined]
        return self.actor_class(**kwargs, spiking=self.spiking).to(self.device)  # type: ignore[attr-defined]

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        return super().make_critic(features_extractor or self.make_critic_features_extractor())  # type: ignore[misc]

    @property
    def spiking_network(self) -> SpikingNetwork:
        return self.actor.mu

    def _seeing(self) -> tuple[BaseModel, BaseFeaturesExtractor]:
        return self.actor, self.actor.features_extractor

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "actor_lr_scale": self.actor_lr_scale}


class SpikingActor:
    """
    An actor whose ``mu`` is a spiking network; goes before SB3's actor class.

    :param args: arguments of SB3's actor
    :param spiking: the network to build
    :param kwargs: arguments of SB3's actor
    """

    mu: SpikingNetwork

    def __init__(self, *args: Any, spiking: NetworkSpec, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spiking = spiking

    def slow_parameters(self) -> list[nn.Parameter]:
        """Return the parameters whose learning rate is scaled."""
        return list(self.mu.parameters())

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "spiking": self.spiking}  # type: ignore[misc]
