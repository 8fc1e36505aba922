"""Base classes of the off-policy actor-critic policies: TD3, DDPG, SAC, TQC, CrossQ."""

from typing import TYPE_CHECKING, Any, ClassVar

from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_spiking.policies.action_map import ActionMap
from sb3_spiking.policies.actor_rate import ScaledActorRate
from sb3_spiking.snn import NetworkSpec, SpikingNetwork

if TYPE_CHECKING:
    from stable_baselines3.td3.policies import TD3Policy as SB3Policy
else:
    SB3Policy = BasePolicy


class SpikingActorPolicy(ScaledActorRate, SB3Policy):
    """
    A spiking actor beside SB3's critics.

    Arguments are those of [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy] and ``actor_lr_scale``;
    ``net_arch`` may have the keys ``pi`` and ``qf``.
    """

    critic_key = "qf"
    actor_class: ClassVar[type[BasePolicy]]

    # Of another type in each family.
    actor: Any
    critic: Any
    critic_target: Any

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.make_actor_optimizer(lr_schedule)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return self.actor_class(**kwargs, network_spec=self.network_spec).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        return super().make_critic(features_extractor or self.make_critic_features_extractor())

    @property
    def spiking_network(self) -> SpikingNetwork:
        return self.actor.mu

    def action_map(self) -> ActionMap:
        # SB3's actors answer in [-1, 1]; TD3's network has a tanh of its own.
        squashed = not isinstance(self.spiking_network.output, nn.Tanh)
        return ActionMap(self.action_space, unscaled=True, squashed=squashed)

    def _actor_and_extractor(self) -> tuple[BaseModel, BaseFeaturesExtractor]:
        return self.actor, self.actor.features_extractor


class SpikingActor(BasePolicy):
    """
    An actor whose ``mu`` is a spiking network; mixin, first among the bases.

    :param args: arguments of SB3's actor
    :param network_spec: specification of the spiking network
    :param kwargs: arguments of SB3's actor
    """

    mu: Any  # a SpikingNetwork, a linear layer for SB3

    def __init__(self, *args: Any, network_spec: NetworkSpec, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.network_spec = network_spec

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "network_spec": self.network_spec}
