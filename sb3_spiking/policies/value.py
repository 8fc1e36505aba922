"""Base classes of the value networks: DQN, QRDQN."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_spiking.arguments import boolean
from sb3_spiking.policies.common import NetArch, SpikingPolicy
from sb3_spiking.policies.torso import AnnTorso
from sb3_spiking.snn import NetworkSpec, Part, SpikingNetwork

if TYPE_CHECKING:
    from stable_baselines3.dqn.policies import QNetwork as SB3Network
else:
    SB3Network = BasePolicy


class CommonModeCorrection(nn.Module):
    """
    Action values whose mean over the actions comes from an ANN (CMC-DSQN, Xu et al., 2026)::

        Q(s, a) = Q_snn(s, a) - mean_a Q_snn(s, a) + C_ann(s)

    The spiking network learns the differences between actions, which decide; the ANN is dropped when acting, which
    changes no greedy action. Each quantile has its own mean.

    :param spiking: network from features to ``n_quantiles * n_actions`` values
    :param ann: network from features to ``n_quantiles`` values
    """

    def __init__(self, spiking: SpikingNetwork, ann: nn.Module) -> None:
        super().__init__()
        self.spiking = spiking
        self.ann = ann

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Compute corrected values.

        :param features: ``[N, features_dim]``
        :return: ``[N, n_quantiles * n_actions]``
        """
        common = self.ann(features).unsqueeze(-1)
        values = self.spiking(features).unflatten(1, (common.shape[1], -1))
        return (values - values.mean(dim=-1, keepdim=True) + common).flatten(1)


class SpikingValueNetwork(SB3Network):
    """
    Action values from a spiking network; mixin, first among the bases.

    :param args: arguments of SB3's network
    :param network_spec: specification of the spiking network
    :param common_mode_correction: learn the mean over the actions with an ANN
    :param kwargs: arguments of SB3's network
    """

    head: str
    """SB3's name for the network behind the features extractor."""
    action_space: spaces.Discrete

    def __init__(
        self, *args: Any, network_spec: NetworkSpec, common_mode_correction: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.network_spec = network_spec
        self.common_mode_correction = common_mode_correction
        features_dim, net_arch = self.features_dim, self.net_arch
        quantiles: int = getattr(self, "n_quantiles", 1)
        network = network_spec.build(features_dim, quantiles * int(self.action_space.n), net_arch)
        head: nn.Module = network
        if common_mode_correction:
            torso = AnnTorso(network_spec.parts or (Part("", (features_dim,)),), network_spec.options.conv_arch)
            ann = create_mlp(torso.features, quantiles, list(net_arch), self.activation_fn)
            head = CommonModeCorrection(network, nn.Sequential(torso, *ann))
        setattr(self, self.head, head)

    @property
    def spiking_network(self) -> SpikingNetwork:
        """Spiking network, without its correction."""
        network = getattr(self, self.head)
        return network.spiking if isinstance(network, CommonModeCorrection) else network

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        # The correction is the same for all the actions: acting needs the spiking network alone.
        features = self.extract_features(observation, self.features_extractor)
        values = self.spiking_network(features)
        return values.reshape(values.shape[0], -1, int(self.action_space.n)).mean(dim=1).argmax(dim=1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        return {**data, "network_spec": self.network_spec, "common_mode_correction": self.common_mode_correction}


class SpikingValuePolicy(SpikingPolicy):
    """
    A policy that takes the action with the largest spiking value.

    :param observation_space: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :param action_space: Discrete
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: hidden layers of the spiking network
    :param common_mode_correction: subtract the mean over the actions and learn it with an ANN, which is dropped when
        acting (CMC-DSQN, Xu et al., 2026)
    :param kwargs: see [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy]
    :raises ValueError: if an argument is not allowed
    """

    draws_actions = False  # the algorithm does

    network_class: Any
    net_args: dict[str, Any]

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        *,
        common_mode_correction: bool = False,
        **kwargs: Any,
    ) -> None:
        self.common_mode_correction = boolean("common_mode_correction", common_mode_correction)
        super().__init__(observation_space, action_space, lr_schedule, net_arch=net_arch, **kwargs)

    def make_network(self) -> Any:
        """Make the online or the target network."""
        net_args = self._update_features_extractor(self.net_args, features_extractor=None)
        network = self.network_class(
            **net_args, network_spec=self.network_spec, common_mode_correction=self.common_mode_correction
        )
        return network.to(self.device)

    @abstractmethod
    def _online(self) -> Any:
        """Return the online network."""

    @property
    def spiking_network(self) -> SpikingNetwork:
        return self._online().spiking_network

    def _actor_and_extractor(self) -> tuple[BaseModel, BaseFeaturesExtractor]:
        network = self._online()
        return network, network.features_extractor

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        return {**data, "common_mode_correction": self.common_mode_correction}
