"""TD3 and DDPG: a deterministic spiking actor."""

from collections.abc import Mapping
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.td3.policies import Actor, TD3Policy
from torch import nn

from sb3_spiking.arguments import boolean, from_kwargs, plain
from sb3_spiking.policies.common import NetArch
from sb3_spiking.policies.off_policy import SpikingActor, SpikingActorPolicy
from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.proxy_target import Proxy, ProxyOptions
from sb3_spiking.snn import NetworkSpec


class SpikingTD3Actor(SpikingActor, Actor):
    """TD3's actor: a spiking network behind the features, and a tanh."""

    def __init__(self, *args: Any, network_spec: NetworkSpec, **kwargs: Any) -> None:
        super().__init__(*args, network_spec=network_spec, **kwargs)
        action_dim = get_action_dim(self.action_space)
        self.mu = network_spec.build(self.features_dim, action_dim, self.net_arch, nn.Tanh())


class ProxyTarget(SpikingTD3Actor):
    """
    A target actor that answers as a proxy.

    SB3 averages its weights, as those of any target; they are a spiking actor's and are not used.
    """

    _followed: tuple[Proxy, SpikingTD3Actor] | None = None

    def follow(self, proxy: Proxy, actor: SpikingTD3Actor) -> None:
        """
        Set what is answered.

        :param proxy: the proxy
        :param actor: the actor that it follows
        """
        # In a tuple: both are modules of the policy, and their weights none of this actor's.
        self._followed = (proxy, actor)

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        """
        Return the target actions; while the actor is in training mode, the proxy follows it first.

        :param obs: next observations of a batch
        :return: actions in [-1, 1], ``[N, action_dim]``
        """
        assert self._followed is not None
        proxy, actor = self._followed
        features = self.extract_features(obs, self.features_extractor)
        if actor.training:
            with th.no_grad():
                actions = actor.mu(features)
            proxy.follow(features.detach(), actions)
        return proxy(features)


class SpikingTD3Policy(SpikingActorPolicy, TD3Policy):
    """
    SB3's TD3 policy with a spiking actor.

    With SB3's default rate of 1e-3 the actor learns at 3e-4, between PopSAN's 1e-4 and the critic's rate.

    :param observation_space: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param action_space: action space
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param proxy_target: whether an ANN that follows the actor stands in place of the target actor, see
        ``policies/proxy_target.py``
    :param proxy_kwargs: constants of the proxy: ``net_arch``, ``learning_rate``, ``steps``
    :param kwargs: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy], and ``actor_lr_scale``
    :raises ValueError: if an argument is not allowed
    """

    actor_class = SpikingTD3Actor
    draws_actions = False
    default_actor_lr_scale = 0.3
    proxy: Proxy | None

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        *,
        proxy_target: bool = False,
        proxy_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.proxy_target = boolean("proxy_target", proxy_target)
        self.proxy_kwargs = plain(proxy_kwargs)
        self._proxy_options = from_kwargs("proxy_kwargs", ProxyOptions, proxy_kwargs)
        if proxy_kwargs and not proxy_target:
            raise ValueError(f"proxy_kwargs={proxy_kwargs!r} would have no effect without proxy_target=True")
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        self.proxy = None
        if not self.proxy_target:
            return
        # The critic's target may share the extractor of the target that SB3 has made.
        kwargs = self._update_features_extractor(self.actor_kwargs, self.actor_target.features_extractor)
        target = ProxyTarget(**kwargs, network_spec=self.network_spec).to(self.device)
        target.load_state_dict(self.actor.state_dict())
        action_dim = get_action_dim(self.action_space)
        self.proxy = Proxy(self.network_spec, self.actor.features_dim, action_dim, self._proxy_options).to(self.device)
        target.follow(self.proxy, self.actor)
        target.set_training_mode(False)
        self.actor_target = target

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        return {**data, "proxy_target": self.proxy_target, "proxy_kwargs": self.proxy_kwargs}


class PopSANPolicy(PopulationCoded, SpikingTD3Policy):
    """Population-coded spiking actor for TD3 and DDPG (Tang et al., CoRL 2020)."""


class SpikingMlpPolicy(DirectCurrent, SpikingTD3Policy):
    """Spiking actor on direct currents for TD3 and DDPG."""


class SpikingCnnPolicy(Images, SpikingTD3Policy):
    """Spiking convolutional actor for TD3 and DDPG."""


class SpikingMultiInputPolicy(Dictionaries, SpikingTD3Policy):
    """Spiking actor on Dict observations for TD3 and DDPG."""
