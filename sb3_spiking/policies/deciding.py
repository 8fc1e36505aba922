"""
Decisions on the direct way: from a NumPy observation to a NumPy action, without a tensor.

SB3's ``predict`` sets the mode of every module, copies and checks the observation, and calls torch for each step; this
takes longer than the network. The direct way does the same for vectors, and leaves the rest to SB3: every error, and
whatever a plan does not cover. A plan is made again when something changed on the way.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, MlpExtractor
from torch import nn

from sb3_spiking.observations import plain_rows
from sb3_spiking.policies.action_map import ActionMap
from sb3_spiking.policies.normalization import RESOLUTION, STATISTICS, RunningNormExtractor
from sb3_spiking.snn import SpikingNetwork
from sb3_spiking.snn.acting import decide_at_once
from sb3_spiking.snn.network_plan import UNCHANGED, Normalization
from sb3_spiking.snn.observers import operations_are_watched
from sb3_spiking.snn.snapshot import Setting, Snapshot

PACKAGES = ("sb3_spiking.", "stable_baselines3.", "sb3_contrib.", "torch.")
"""Packages whose methods are known: those of others may do anything."""

METHODS = (
    "__call__", "_actor_and_extractor", "_get_action_dist_from_latent", "_predict", "action_map", "device",
    "extract_features", "forward", "get_action_dist_params", "get_distribution", "is_vectorized_observation",
    "obs_to_tensor", "set_training_mode", "spiking_network", "squash_output", "train", "unscale_action",
)  # fmt: skip
"""Methods and properties that SB3's ``predict`` may use, of the policy or of its model."""

LATEST = ("distribution", "distributions", "gaussian_actions", "_latent_sde")
"""What SB3's action distributions keep of the latest decision."""


class Policy(Protocol):
    """Parts of a spiking policy."""

    observation_space: spaces.Space
    action_space: spaces.Space

    @property
    def spiking_network(self) -> SpikingNetwork:
        """Spiking network that acts."""

    @property
    def squash_output(self) -> bool:
        """Whether actions lie in [-1, 1] before they are scaled to the space."""

    def action_map(self) -> ActionMap:
        """Return the map from outputs to actions."""

    def set_training_mode(self, mode: bool) -> None:
        """Set training or evaluation mode."""

    def _actor_and_extractor(self) -> tuple[BaseModel, BaseFeaturesExtractor]:
        """Return model and extractor."""


@dataclass(frozen=True)
class _Direct:
    """
    Arrays and functions of the direct way.

    :param network: spiking network
    :param shape: shape of an observation
    :param normalization: normalisation of the observations
    :param deferred: statistics in use, and those that replace them before a decision
    :param action_map: map from outputs to actions
    """

    network: SpikingNetwork
    shape: tuple[int, ...]
    normalization: Normalization
    deferred: tuple[tuple[np.ndarray, np.ndarray], ...]
    action_map: ActionMap


class _Plan:
    """
    Plan of the direct way, and everything that invalidates it when it changes.

    :param policy: policy
    """

    def __init__(self, policy: Any) -> None:
        model, extractor = policy._actor_and_extractor()
        network = policy.spiking_network
        modules = [policy, model, network, *extractor.modules()]
        for name in ("latent_pi", "log_std", "mlp_extractor"):
            part = model._modules.get(name)
            modules += [] if part is None else part.modules()
        self._snapshot = Snapshot(modules, _settings(policy, model, extractor, modules))
        classes = [cls for cls in (type(policy), type(model)) for _ in METHODS]
        self._classes = [*classes, type(extractor), type(network)]
        self._names = [*METHODS, *METHODS, "forward", "forward"]
        self._functions = [*map(getattr, self._classes, self._names, repeat(None))]
        trained = [
            module for name, module in policy._modules.items() if module is not None and not name.endswith("_target")
        ]
        self._modes = [policy.__dict__, *(part.__dict__ for module in trained for part in module.modules())]
        known = all(map(_is_known, self._functions)) and not any("forward" in module.__dict__ for module in modules)
        known = known and not any(name in module.__dict__ for module in (policy, model) for name in METHODS)
        self.direct = _direct(policy, model, extractor) if known else None
        self._action_dist = model.__dict__.get("action_dist")
        self._free_of_graphs: list[Any] = []

    def holds(self) -> bool:
        """Tell whether the policy still has the modules, statistics, settings and methods of the plan."""
        functions = map(getattr, self._classes, self._names, repeat(None))
        return self._snapshot.holds() and all(map(is_, functions, self._functions))

    def is_hooked(self) -> bool:
        """Tell whether hooks observe a module."""
        return self._snapshot.is_hooked()

    def keeps_graph(self) -> bool:
        """Tell whether a distribution of training is left, which SB3's ``predict`` replaces: it cannot be copied."""
        if self._action_dist is None:
            return False
        latest = [*map(vars(self._action_dist).get, LATEST)]
        if len(latest) == len(self._free_of_graphs) and all(map(is_, latest, self._free_of_graphs)):
            return False
        if any(map(_has_graph, latest)):
            return True
        self._free_of_graphs = latest
        return False

    def is_training(self) -> bool:
        """Tell whether any module that ``predict`` puts into evaluation mode is in training mode."""
        return any(map(dict.get, self._modes, repeat("training")))


_PLANS: WeakKeyDictionary[Any, _Plan] = WeakKeyDictionary()


def decide(policy: Policy, observation: object) -> np.ndarray | None:
    """
    Decide deterministically, on the direct way.

    :param policy: spiking policy; it is in evaluation mode afterwards
    :param observation: one observation or a batch
    :return: actions as SB3's ``predict`` returns them; None where SB3's way must be taken
    """
    if operations_are_watched():
        return None
    plan = _PLANS.get(policy)
    if plan is None or not plan.holds():
        plan = _PLANS[policy] = _Plan(policy)
    direct = plan.direct
    if direct is None or plan.is_hooked() or plan.keeps_graph():
        return None
    rows = plain_rows(observation, direct.shape)
    if not isinstance(observation, np.ndarray) or rows is None:
        return None
    if plan.is_training():
        policy.set_training_mode(False)
    for statistic, collected in direct.deferred:
        statistic[...] = collected
    outputs = decide_at_once(direct.network, rows, direct.normalization)
    if outputs is None or not np.isfinite(outputs).all():  # SB3's distributions refuse what is not finite
        return None
    actions = direct.action_map.actions(outputs)
    return actions.squeeze(axis=0) if observation.shape == direct.shape else actions


def _has_graph(value: Any) -> bool:
    """Tell whether a tensor, or one in a distribution or in several, has a graph."""
    if isinstance(value, list):
        return any(map(_has_graph, value))
    if isinstance(value, th.distributions.Distribution):
        return any(map(_has_graph, vars(value).values()))
    return isinstance(value, th.Tensor) and value.grad_fn is not None


def _settings(policy: Any, model: nn.Module, extractor: nn.Module, modules: Iterable[nn.Module]) -> Iterator[Setting]:
    """Yield everything on the way that is neither a module nor a tensor."""
    for owner in (policy, model):
        for name in ("observation_space", "action_space", "_squash_output", "normalize_images", "action_dist"):
            yield owner.__dict__, name
        for name in METHODS:
            yield owner.__dict__, name
    for name in ("clip", "deferred"):
        yield extractor.__dict__, name
    for module in modules:
        yield module.__dict__, "forward"


def _is_known(function: Any) -> bool:
    """Tell whether a method, or a property, belongs to the known packages; some models have no such method."""
    function = function.fget if isinstance(function, property) else function
    return function is None or str(getattr(function, "__module__", "")).startswith(PACKAGES)


def _direct(policy: Policy, model: Any, extractor: nn.Module) -> _Direct | None:
    """Prepare the direct way; return None where SB3's way must be taken."""
    network, observations, actions = policy.spiking_network, policy.observation_space, policy.action_space
    if type(network) is not SpikingNetwork or type(observations) is not spaces.Box or is_image_space(observations):
        return None
    if model.observation_space != observations or model.action_space != actions:
        return None
    if isinstance(actions, spaces.Discrete | spaces.MultiDiscrete) and np.any(actions.start):
        return None  # SB3's own actions begin at 0
    latent, mlp = model._modules.get("latent_pi"), model._modules.get("mlp_extractor")
    if latent is not None and type(latent) is not nn.Identity:
        return None
    if mlp is not None and (type(mlp) is not MlpExtractor or len(mlp.policy_net) > 0):
        return None
    distribution = getattr(model, "action_dist", None)
    if distribution is not None and not type(distribution).__module__.startswith(PACKAGES):
        return None
    normalization = UNCHANGED
    deferred: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    if type(extractor) is RunningNormExtractor:
        tensors = extractor._buffers.values()
        if not all(type(t) is th.Tensor and t.dtype is th.float32 and t.device.type == "cpu" for t in tensors):
            return None
        mean, variance, _ = _statistics(extractor, "running_")
        if extractor.running_epsilon.numel() != 1:
            return None
        epsilon = extractor.running_epsilon.numpy().reshape(1)
        normalization = Normalization(mean, variance, epsilon, RESOLUTION**2, float(extractor.clip))
        if extractor.deferred:
            pairs = zip(_statistics(extractor, "running_"), _statistics(extractor, "running_next_"), strict=True)
            deferred = tuple(pairs)
        if any(array.shape != (network.size,) for array in (mean, variance)):
            return None
    elif type(extractor) is not FlattenExtractor:
        return None
    action_map = policy.action_map()
    if isinstance(actions, spaces.Box) and action_map.unscaled != policy.squash_output:
        return None
    return _Direct(network, observations.shape, normalization, deferred, action_map)


def _statistics(extractor: RunningNormExtractor, prefix: str) -> list[np.ndarray]:
    return [getattr(extractor, prefix + name).numpy() for name in STATISTICS]
