"""
Compared implementations: SB3's own policies, and the spiking policies with several executions of their neurons.

* ``mlp``, ``cnn``: SB3's ``MlpPolicy`` and ``CnnPolicy``, with layers of the same sizes,
* ``mlp-fused``, ``cnn-fused``: the same with torch's fused Adam, the default of the spiking policies,
* ``published``: the spiking policy computed like the papers' code (``published_loop.py``); not for images,
* ``plain``: the spiking policy with SpikingJelly's nodes in single-step mode, called once per time step,
* ``nodes``: the same nodes in multi-step mode,
* ``spiking``: the spiking policy by default, with fused kernels,
* ``spiking-bfloat16``: the same with ``precision="bfloat16"``.

``plain`` and ``nodes`` differ from ``spiking`` in the hidden and output neurons only: they share the encoder and the
single matrix product over all time steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import published_loop
import torch as th
from gymnasium import spaces
from spikingjelly.activation_based.neuron import BaseNode
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from sb3_spiking.optimizers.fused_adam import fuse
from sb3_spiking.snn import SpikingNetwork, SpikingOptions
from sb3_spiking.snn.layers import SpikingLayer

OBSERVATIONS, ACTIONS = 17, 6
"""Observation and action dimensions of HalfCheetah."""
NET_ARCH = (256, 256)

_A = TypeVar("_A", bound=BaseAlgorithm)


class StepByStep(nn.Module):
    """
    Wrapper that calls a node once per time step.

    :param node: SpikingJelly node
    """

    def __init__(self, node: BaseNode) -> None:
        super().__init__()
        node.step_mode = "s"
        self.node = node
        disable_kernels([self])

    def reset(self) -> None:
        """Reset the node to its resting state."""
        self.node.reset()

    def forward(self, current: th.Tensor) -> th.Tensor:
        """
        Run the node over all time steps.

        :param current: input currents, ``[T, N, ...]``
        :return: spikes, ``[T, N, ...]``
        """
        return th.stack([self.node(step) for step in current])


def disable_kernels(nodes: Sequence[nn.Module]) -> None:
    """Register empty forward hooks on the nodes: observed nodes run as modules, without fused kernels."""
    for node in nodes:
        node.register_forward_hook(lambda *_: None)


_M = TypeVar("_M", bound=nn.Module)


def _all(kind: type[_M], module: nn.Module) -> list[_M]:
    return [part for part in module.modules() if isinstance(part, kind)]


def _published(policy: nn.Module) -> None:
    for network in _all(SpikingNetwork, policy):
        network.forward = partial(published_loop.decide, network)  # type: ignore[method-assign]


def _plain(policy: nn.Module) -> None:
    for layer in _all(SpikingLayer, policy):
        layer.neuron = StepByStep(layer.neuron)


def _nodes(policy: nn.Module) -> None:
    disable_kernels([layer.neuron for layer in _all(SpikingLayer, policy)])


@dataclass(frozen=True)
class Execution:
    """
    Execution of a spiking network.

    :param precision: precision of the matrix products
    :param prepare: function that installs the execution in a network, or in a policy with networks
    :param images: support of image observations
    """

    precision: str = "float32"
    prepare: Callable[[nn.Module], None] = lambda policy: None
    images: bool = True


EXECUTIONS = {
    "published": Execution(prepare=_published, images=False),
    "plain": Execution(prepare=_plain),
    "nodes": Execution(prepare=_nodes),
    "spiking": Execution(),
    "spiking-bfloat16": Execution("bfloat16"),
}
ACTORS = ("mlp", *EXECUTIONS)


def make_actor(name: str, net_arch: Sequence[int] = NET_ARCH, **options: Any) -> nn.Module:
    """
    Build the network of a TD3 actor, without its policy.

    :param name: key of ``ACTORS``
    :param net_arch: sizes of the hidden layers
    :param options: fields of ``SpikingOptions``
    :return: network from observations to actions of HalfCheetah's dimensions
    """
    if name == "mlp":
        return nn.Sequential(*create_mlp(OBSERVATIONS, ACTIONS, list(net_arch), squash_output=True))
    execution = EXECUTIONS[name]
    spiking = SpikingOptions(precision=execution.precision, **options)
    network = SpikingNetwork(OBSERVATIONS, ACTIONS, net_arch, spiking, nn.Tanh())
    execution.prepare(network)
    return network


@dataclass(frozen=True)
class Policies:
    """
    A dense policy and its spiking counterpart.

    :param dense_name: name of SB3's policy in tables
    :param dense: alias of SB3's policy
    :param spiking: alias of the spiking policy
    :param kwargs: ``policy_kwargs`` of both
    :param spiking_kwargs: additional ``policy_kwargs`` of the spiking policy
    """

    dense_name: str
    dense: str
    spiking: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    spiking_kwargs: Mapping[str, Any] = field(default_factory=dict)


VECTORS = Policies("mlp", "MlpPolicy", "PopSANPolicy", {"net_arch": list(NET_ARCH)})
# Both have a layer of 512 behind the convolutions by default.
IMAGES = Policies("cnn", "CnnPolicy", "SpikingCnnPolicy", spiking_kwargs={"time_steps": 4})


def make_agents(
    algorithm: Callable[..., _A],
    policies: Policies,
    make_env: Callable[[], gym.Env | VecEnv],
    *,
    learn: bool = True,
    **arguments: Any,
) -> dict[str, _A]:
    """
    Build an agent for each implementation, SB3's own first.

    :param algorithm: class of the agents
    :param policies: policies to compare
    :param make_env: factory of each agent's environment
    :param learn: training is measured, so that optimisers matter
    :param arguments: arguments of the algorithm, the same for all agents
    :return: agents by name
    """
    arguments = {"seed": 0, "device": "cpu", **arguments}

    def dense() -> _A:
        return algorithm(policies.dense, make_env(), policy_kwargs={**policies.kwargs}, **arguments)

    agents = {policies.dense_name: dense()}
    if learn:
        fused = agents[f"{policies.dense_name}-fused"] = dense()
        fuse(fused.policy)
    executions = {name: one for name, one in EXECUTIONS.items() if one.images or policies is not IMAGES}
    for name, execution in executions.items():
        kwargs = {**policies.kwargs, **policies.spiking_kwargs, "precision": execution.precision}
        agents[name] = algorithm(policies.spiking, make_env(), policy_kwargs=kwargs, **arguments)
        execution.prepare(agents[name].policy)
    return agents


class NoiseEnv(gym.Env):
    """
    Environment of random observations, at next to no cost.

    :param observation_space: space of the observations
    :param action_space: space of the actions
    """

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}
