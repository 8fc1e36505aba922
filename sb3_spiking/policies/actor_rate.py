"""Learning rate of the spiking network as a multiple of the algorithm's, for actor-critic policies."""

from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule

from sb3_spiking.arguments import positive_float
from sb3_spiking.optimizers.learning_rate import attach_hooks, scaled_optimizer
from sb3_spiking.policies.common import NetArch, SpikingPolicy


class ScaledActorRate(SpikingPolicy):
    """
    A spiking policy whose actor learns at a rate of its own.

    :param observation_space: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param action_space: action space
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param actor_lr_scale: learning rate of the spiking network as a multiple of the algorithm's, > 0
    :param kwargs: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :raises ValueError: if an argument is not allowed
    """

    default_actor_lr_scale: ClassVar[float] = 1.0

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        *,
        actor_lr_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        scale = self.default_actor_lr_scale if actor_lr_scale is None else actor_lr_scale
        self.actor_lr_scale = positive_float("actor_lr_scale", scale)
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def make_actor_optimizer(self, lr_schedule: Schedule) -> None:
        """
        Replace the optimiser of the model with the spiking network by one that scales the network's rate.

        :param lr_schedule: learning rate as a function of the remaining progress
        """
        model, _ = self._actor_and_extractor()
        model.optimizer = scaled_optimizer(
            self.optimizer_class,
            model.parameters(),
            self.spiking_network.parameters(),
            self.actor_lr_scale,
            lr=lr_schedule(1),
            **self.optimizer_kwargs,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        model, _ = self._actor_and_extractor()
        attach_hooks(model.optimizer)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "actor_lr_scale": self.actor_lr_scale}
