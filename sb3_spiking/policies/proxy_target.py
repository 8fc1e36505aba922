"""
Proxy target: an ANN in place of the spiking target actor of TD3 and DDPG.

Source: Xu et al., Proxy Target, NeurIPS 2025 (arXiv 2505.24161). The weights of a spiking target follow the actor's
slowly, and yet its actions jump, because spikes are all or nothing. An ordinary network that is fitted to the actor's
actions changes smoothly. It is needed in training only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.nn import functional

from sb3_spiking.arguments import hidden_sizes, positive_float, positive_int
from sb3_spiking.policies.torso import AnnTorso
from sb3_spiking.snn import NetworkSpec, Part


@dataclass(frozen=True)
class ProxyOptions:
    """
    Constants of a proxy; the defaults are the paper's for the neuron of PopSAN.

    :param net_arch: sizes of the hidden layers
    :param learning_rate: learning rate of Adam, > 0
    :param steps: gradient steps on each batch of next observations, >= 1
    :raises ValueError: if a value is not allowed
    """

    net_arch: Sequence[int] = (512, 512)
    learning_rate: float = 3e-3
    steps: int = 3

    def __post_init__(self) -> None:
        hidden_sizes("proxy_kwargs['net_arch']", self.net_arch)
        positive_float("proxy_kwargs['learning_rate']", self.learning_rate)
        positive_int("proxy_kwargs['steps']", self.steps)


class Proxy(nn.Module):
    """
    An ANN that follows the spiking actor by gradient steps::

        mean (proxy(s') - actor(s'))^2            on the next observations s' of each batch of TD3

    The paper draws further batches for these steps; here they are taken on the batch whose target actions are wanted,
    so that no algorithm is changed.

    :param network_spec: specification of the spiking network, whose features the proxy reads
    :param features_dim: number of features
    :param action_dim: number of actions
    :param options: constants
    """

    def __init__(self, network_spec: NetworkSpec, features_dim: int, action_dim: int, options: ProxyOptions) -> None:
        super().__init__()
        torso = AnnTorso(network_spec.parts or (Part("", (features_dim,)),), network_spec.options.conv_arch)
        hidden = hidden_sizes("net_arch", options.net_arch)
        self.network = nn.Sequential(torso, *create_mlp(torso.features, action_dim, hidden, squash_output=True))
        self.options = options
        self.optimizer = th.optim.Adam(self.network.parameters(), options.learning_rate)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Return the target actions.

        :param features: ``[N, features_dim]``
        :return: actions in [-1, 1], ``[N, action_dim]``
        """
        return self.network(features)

    @th.enable_grad()
    def follow(self, features: th.Tensor, actions: th.Tensor) -> None:
        """
        Take gradient steps towards the actor's actions.

        :param features: ``[N, features_dim]``
        :param actions: actions of the actor, ``[N, action_dim]``
        """
        for _ in range(self.options.steps):
            loss = functional.mse_loss(self.network(features), actions)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the optimiser, which SB3 would not save."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """
        Continue with a saved optimiser.

        :param state: result of ``get_extra_state``
        """
        self.optimizer.load_state_dict(state)
