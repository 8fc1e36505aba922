"""
Who is measured: SB3's own policies, and the spiking ones with their neurons run in several ways.

* ``mlp``, ``cnn``: SB3's ``MlpPolicy`` and ``CnnPolicy``, with layers of the same sizes,
* ``mlp-fused``, ``cnn-fused``: these with torch's fused Adam, which the spiking policies have by default,
* ``published``: the spiking policy run as the papers' code runs it, see ``published_loop.py``; not for images,
* ``plain``: the spiking policy whose neurons are SpikingJelly's nodes, called once for each time step,
* ``nodes``: the same nodes in their multi-step mode,
* ``spiking``: the spiking policy as it is, with its fused kernels,
* ``spiking-bfloat16``: with ``precision="bfloat16"``.

``plain`` and ``nodes`` differ from ``spiking`` in the hidden and output neurons alone: they have its encoder, and one
product for all the time steps.
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
"""Sizes of HalfCheetah."""
NET_ARCH = (256, 256)

_A = TypeVar("_A", bound=BaseAlgorithm)


class StepByStep(nn.Module):
    """
    A node that is called once for each time step.

    :param node: a SpikingJelly node
    """

    def __init__(self, node: BaseNode) -> None:
        super().__init__()
        node.step_mode = "s"
        self.node = node
        run_themselves([self])

    def reset(self) -> None:
        """Go back to rest."""
        self.node.reset()

    def forward(self, current: th.Tensor) -> th.Tensor:
        """
        Run all the time steps.

        :param current: ``[T, N, ...]``
        :return: spikes, of the same shape
        """
        return th.stack([self.node(step) for step in current])


def run_themselves(nodes: Sequence[nn.Module]) -> None:
    """Have nodes run themselves, as they do when somebody watches: no fused kernel takes their place."""
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
    run_themselves([layer.neuron for layer in _all(SpikingLayer, policy)])


@dataclass(frozen=True)
class Execution:
    """
    How a spiking network is run.

    :param precision: of its products
    :param prepare: is given the network, or the policy around some
    :param images: whether it can have images as inputs
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
    Make the network of a TD3 actor, without a policy around it.

    :param name: one of ``ACTORS``
    :param net_arch: sizes of its hidden layers
    :param options: arguments of the spiking networks
    :return: observations to actions, both of HalfCheetah's sizes
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
    The policies of a contest.

    :param dense_name: what SB3's policy is called in tables
    :param dense: its name
    :param spiking: name of the spiking policy
    :param kwargs: arguments of both
    :param spiking_kwargs: arguments of the spiking one
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
    Make the agents of a contest, SB3's own first.

    :param algorithm: their class
    :param policies: which
    :param make_env: makes the environment, or the environments, of each
    :param learn: whether they will, so that their optimisers matter
    :param arguments: of the algorithm, the same for all of them
    :return: the agents by name
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
    Random observations and nothing else: an environment that takes no time.

    :param observation_space: a Box
    :param action_space: any
    """

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, False, False, {}
