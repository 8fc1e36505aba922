"""Base class of the spiking policies of every algorithm family: keyword arguments, checks, saving."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import torch as th
from gymnasium import spaces
from spikingjelly.activation_based.base import MemoryModule
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_spiking.arguments import boolean, hidden_sizes, plain
from sb3_spiking.optimizers.fused_adam import fuse
from sb3_spiking.policies.action_map import ActionMap
from sb3_spiking.policies.deciding import decide
from sb3_spiking.policies.families import algorithm_making, check_family
from sb3_spiking.policies.fitting import fit_normalization
from sb3_spiking.policies.images import warn_if_transposed
from sb3_spiking.policies.keywords import OPTIONS, check_keywords, plain_kwargs
from sb3_spiking.policies.observations import Extractors, make_extractors
from sb3_spiking.policies.presets import Preset
from sb3_spiking.policies.spaces import check_observation, check_space
from sb3_spiking.snn import NetworkSpec, SpikingNetwork
from sb3_spiking.snn.constants import check_constants
from sb3_spiking.snn.convolutions import dense_size
from sb3_spiking.snn.description import Description
from sb3_spiking.snn.neurons import NEURONS
from sb3_spiking.snn.threads import notice_threads

VECTOR_OPTIONS = {"encoder", "encoder_population", "encoder_std", "mean_range"}
IMAGE_OPTIONS = {"conv_arch"}

NetArch = list[int] | dict[str, list[int]]


class SpikingPolicy(Preset, BasePolicy):
    """
    Keyword arguments of a spiking policy; mixin, first among the bases.

    Every argument is a name, a number or a list, so that ``policy_kwargs`` are saved as readable JSON. The arguments
    of the network are those of [`SpikingOptions`][sb3_spiking.snn.SpikingOptions]; all others are passed on to SB3's
    policy.

    :param observation_space: observation space, of a kind that the policy takes
    :param action_space: action space
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: hidden layers of the spiking network and the critic, or a dict with a list for each
    :param normalize_observations: running z-score of vector observations, for the critic too; turn it off under
        ``VecNormalize``
    :param features_extractor_class: an extractor of your own, in place of the normalisation and of spiking convolutions
    :param features_extractor_kwargs: arguments of this extractor
    :param share_features_extractor: one extractor for spiking network and critic, and so one set of observation
        statistics: the default where it has no parameters
    :param kwargs: arguments of the network and of SB3's policy
    :raises ValueError: if the policy does not take the observation space, or a value is not allowed
    :raises TypeError: if an argument is unknown, or the algorithm is of another family than the policy
    """

    critic_key: ClassVar[str | None] = None
    """Key of the critic in ``net_arch``; None without a critic."""
    deferred_statistics: ClassVar[bool] = False
    draws_actions: ClassVar[bool] = True
    """Whether ``predict`` draws its actions at random unless they are to be deterministic."""
    default_net_arch: ClassVar[NetArch] = [256, 256]
    critic_behind_images: ClassVar[list[int]] = [256, 256]
    """Hidden layers of a critic behind its convolutions."""

    share_features_extractor: bool

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if not hasattr(cls, "policy_name"):
            raise TypeError(
                f"{cls.__name__} has no preset of observations and options: "
                f"class PopSANPolicy(sb3_spiking.policies.presets.PopulationCoded, {cls.__name__}): ..."
            )
        # Before Python compares the arguments with __init__: those of another family do not fit. Copies have none.
        algorithm = algorithm_making(cls) if args or kwargs else None
        if algorithm is not None:
            check_family(cls, algorithm)
        return super().__new__(cls)

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: NetArch | None = None,
        *,
        normalize_observations: bool = True,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        share_features_extractor: bool | None = None,
        **kwargs: Any,
    ) -> None:
        algorithm = algorithm_making(type(self))
        if algorithm is not None:
            warn_if_transposed(algorithm)
            algorithm.policy_kwargs = plain_kwargs(type(self), algorithm.policy_kwargs)
        check_keywords(type(self), kwargs, algorithm)
        kwargs, net_arch = plain_kwargs(type(self), kwargs), plain(net_arch)
        check_space(observation_space)
        self.check_observation_space(observation_space, not kwargs.get("normalize_images", True))
        _check_activation(kwargs.get("activation_fn"))
        options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
        # Plain values may be set before nn.Module's constructor, and SB3's constructor builds the networks.
        self.spiking_options = dataclasses.replace(self.preset, **options)
        self.normalize_observations = boolean("normalize_observations", normalize_observations)
        if features_extractor_class is None:
            self.extractors = make_extractors(
                observation_space,
                self.spiking_options,
                self.normalize_observations,
                normalized_image=not kwargs.get("normalize_images", True),
                deferred=self.deferred_statistics,
            )
        else:
            self.extractors = self._own_extractors(features_extractor_class, features_extractor_kwargs)
        self._check_effects(options, kwargs)
        if algorithm is not None:
            self._check_penalty(algorithm)
        if self.critic_key is not None:
            kwargs["share_features_extractor"] = self._sharing(share_features_extractor)
        elif share_features_extractor is not None:
            raise ValueError(f"share_features_extractor={share_features_extractor!r}: there is no critic to share with")
        self.network_spec = NetworkSpec(self.extractors.parts, self.spiking_options)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=self._net_arch(net_arch),
            features_extractor_class=self.extractors.actor[0],
            features_extractor_kwargs=self.extractors.actor[1],
            **kwargs,
        )
        fuse(self)

    def _own_extractors(
        self, extractor_class: type[BaseFeaturesExtractor], extractor_kwargs: dict[str, Any] | None
    ) -> Extractors:
        if self.normalize_observations:
            raise ValueError(
                f"features_extractor_class={extractor_class.__name__} would replace the observation "
                "normalisation; pass normalize_observations=False with it"
            )
        own = (extractor_class, extractor_kwargs or {})
        return Extractors(None, own, own)

    def _check_effects(self, options: dict[str, Any], kwargs: dict[str, Any]) -> None:
        """Reject options without effect on these observations, and gSDE on pixels."""
        parts = self.extractors.parts or ()
        images = [part for part in parts if part.is_image]
        changed = {name for name, value in options.items() if value != getattr(self.preset, name)}
        idle = changed & (IMAGE_OPTIONS if not images else VECTOR_OPTIONS if len(images) == len(parts) else set())
        if idle:
            raise ValueError(f"{', '.join(sorted(idle))} would have no effect: there are no such observations")
        if kwargs.get("use_sde") and images:
            raise ValueError(
                "use_sde=True needs vector observations: its noise is a linear map of the features, pixels here"
            )

    def _check_penalty(self, algorithm: BaseAlgorithm) -> None:
        # By name: sb3-contrib, which has the class, may be missing.
        if self.spiking_options.firing_penalty and "TRPO" in (base.__name__ for base in type(algorithm).__mro__):
            raise ValueError(
                f"firing_penalty={self.spiking_options.firing_penalty!r} is not supported under TRPO, whose step is "
                "not the gradient of a loss; use PPO"
            )

    def _sharing(self, wanted: bool | None) -> bool:
        if wanted is not None:
            boolean("share_features_extractor", wanted)
        if wanted and self.extractors.actor != self.extractors.critic:
            raise ValueError(
                "share_features_extractor=True is not possible with images: the critic has an ANN torso of its own"
            )
        return self.extractors.can_share if wanted is None else wanted

    @property
    @abstractmethod
    def spiking_network(self) -> SpikingNetwork:
        """Spiking network that acts, and is deployed."""

    def action_map(self) -> ActionMap:
        """Return the map from the outputs of the spiking network to deterministic actions."""
        return ActionMap(self.action_space)

    def describe(self) -> Description:
        """Return the description of the policy that acts: its modules are the policy's own."""
        _, extractor = self._actor_and_extractor()
        return dataclasses.replace(
            self.spiking_network.describe(), preprocessing=extractor, action_map=self.action_map()
        )

    @abstractmethod
    def _actor_and_extractor(self) -> tuple[BaseModel, BaseFeaturesExtractor]:
        """Return the model that holds the spiking network, and its features extractor."""

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Return the actions of observations, as SB3 does.

        :param observation: raw observation of the environment, or a batch
        :param state: passed on as it is: a decision begins and ends at rest
        :param episode_start: not used
        :param deterministic: whether no action is random
        :return: actions, and ``state``
        :raises ValueError: if the observation does not fit the observation space, or is NaN
        """
        if deterministic or not self.draws_actions:
            actions = decide(self, observation)
            if actions is not None:
                return actions, state
        return super().predict(observation, state, episode_start, deterministic)

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """
        Convert an observation, or a batch, to tensors, as SB3 does.

        :param observation: raw observation of the environment, or a batch
        :return: batch, and whether the observation was one
        :raises ValueError: if it does not fit the observation space; discrete observations are not rounded
        """
        check_observation(self.observation_space, observation)
        return super().obs_to_tensor(observation)

    @th.no_grad()
    def spiking_features(self, observations: PyTorchObs) -> th.Tensor:
        """
        Return the input of the spiking network; the observation statistics stay as they are.

        :param observations: raw observations, ``[N, *shape]``, or a dict of them for a Dict space
        :return: preprocessed and normalised observations, ``[N, features_dim]``
        """
        model, extractor = self._actor_and_extractor()
        with _evaluating(extractor):
            return BaseModel.extract_features(model, observations, extractor)

    def fit_normalization(self, observations: Any) -> None:
        """
        Fit the running mean and variance of the observations to a data set, for actor, critic and targets.

        For training loops of your own, such as behaviour cloning: the features are the same from the first gradient
        step to the last. Later training batches are added to the data set.

        :param observations: raw observations of the environment, arrays or tensors of ``[N, *shape]``, or
            ``[..., *shape]``; a dict of these for a Dict space, where entries that are not normalised may be left out
        :raises ValueError: if the policy does not normalise, or the observations are less than two, of another shape,
            not finite or too large for float32; the statistics stay as they are
        """
        fit_normalization(self, observations)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """
        Load weights, as torch does; weights that were learnt with other constants are refused.

        :param state_dict: ``state_dict()`` of a policy
        :param strict: whether the keys must be the same
        :param assign: see ``torch.nn.Module.load_state_dict``
        :return: missing keys and unknown keys
        :raises RuntimeError: if keys or shapes do not fit, or the weights were learnt with another neuron, number of
            steps, encoder or decoder; in the latter case the policy is unchanged
        """
        check_constants(self, state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def set_training_mode(self, mode: bool) -> None:
        """
        Put the policy into training or evaluation mode; target networks stay in evaluation mode, as in SB3.

        :param mode: training or evaluation
        """
        if mode:
            notice_threads(self)
        for name, network in self._modules.items():
            if network is not None and not name.endswith("_target"):
                _set_mode(network, mode)
        self.training = mode

    def make_critic_features_extractor(self) -> BaseFeaturesExtractor:
        """Make the features extractor of an ANN critic."""
        extractor_class, kwargs = self.extractors.critic
        return extractor_class(self.observation_space, **kwargs)

    def _net_arch(self, net_arch: object) -> Any:
        if net_arch is None:
            return self._default_net_arch()
        if isinstance(net_arch, list | tuple) and any(isinstance(entry, dict) for entry in net_arch):
            raise ValueError(self._about_shared_layers(net_arch))
        if not isinstance(net_arch, dict):
            return hidden_sizes("net_arch", net_arch)
        keys = {"pi", self.critic_key}
        if self.critic_key is None or set(net_arch) != keys:
            allowed = "a list" if self.critic_key is None else f"a list, or a dict of 'pi' and {self.critic_key!r}"
            raise ValueError(f"net_arch={net_arch!r} must be {allowed}")
        # A critic without hidden layers is SB3's business.
        return {**net_arch, "pi": hidden_sizes("net_arch['pi']", net_arch["pi"])}

    def _about_shared_layers(self, net_arch: object) -> str:
        if self.critic_key is None:
            return f"net_arch={net_arch!r} must be a list of layer sizes: there is one network, without a critic"
        return (
            f"net_arch={net_arch!r}: a list with a dict is how SB3 before 1.8 described layers that actor and critic "
            f"share; write the dict without the list, net_arch=dict(pi=[64, 64], {self.critic_key}=[64, 64])"
        )

    def _default_net_arch(self) -> Any:
        images = [part for part in self.extractors.parts or () if part.is_image]
        if not images:
            return self.default_net_arch
        # The dense layer behind the convolutions; the critic has it in its extractor.
        dense = [max(dense_size(part.shape) for part in images)]
        return dense if self.critic_key is None else {"pi": dense, self.critic_key: self.critic_behind_images}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_constructor_parameters()
        data.update(dataclasses.asdict(self.spiking_options), normalize_observations=self.normalize_observations)
        if self.critic_key is not None:
            # SB3 saves this argument of some policies only.
            data["share_features_extractor"] = self.share_features_extractor
        if self.extractors.parts is not None:
            del data["features_extractor_class"], data["features_extractor_kwargs"]
        return data


def arch_of(net_arch: NetArch, key: str) -> list[int]:
    """
    Return the hidden layers of one network.

    :param net_arch: one list for all the networks, or a list for each
    :param key: key of the network
    :return: sizes of its layers
    """
    return net_arch[key] if isinstance(net_arch, dict) else net_arch


def _set_mode(module: nn.Module, mode: bool) -> None:
    """Set the mode as ``nn.Module.train`` does, but in less time: SB3 sets it at each prediction."""
    train = nn.Module.train
    modules: list[nn.Module | None] = [module]
    for part in modules:  # the list grows in the loop
        if part is None:
            continue
        if type(part).train is train:
            part.__dict__["training"] = mode
            if part._modules:
                modules += part._modules.values()
        else:  # a module that sets its mode itself, such as batch normalisation that stays frozen
            part.train(mode)


def _check_activation(activation_fn: type[nn.Module] | None) -> None:
    if activation_fn is not None and not callable(activation_fn):
        raise ValueError(f"activation_fn={activation_fn!r} must be a class, such as torch.nn.ReLU")
    if isinstance(activation_fn, type) and issubclass(activation_fn, MemoryModule):
        raise ValueError(
            f"activation_fn={activation_fn.__name__} would put spikes into the critic; the network spikes by itself, "
            f"choose its neuron by name: neuron={', '.join(map(repr, NEURONS))}"
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training
