"""What the spiking policies of every algorithm family share: keyword arguments, checks, saving."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces
from spikingjelly.activation_based.base import MemoryModule
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_spiking.policies.normalization import RunningNormExtractor
from sb3_spiking.snn import PopSANOptions
from sb3_spiking.snn.arguments import hidden_sizes
from sb3_spiking.snn.encoders import Range, mean_ranges

NET_ARCH = [256, 256]
"""Hidden layers of actor and critic where the user names none, as in PopSAN."""


class PopSANPolicyMixin:
    """
    Keyword arguments of a population-coded policy; put it before SB3's policy class.

    Every argument is a name, a number or a list, so that ``policy_kwargs`` are saved as readable JSON. What
    is not listed here goes to SB3's policy. The network's own arguments are those of
    [`PopSANOptions`][sb3_spiking.snn.PopSANOptions].

    :param observation_space: a Box of vectors
    :param action_space: the action space
    :param lr_schedule: learning rate as a function of the remaining progress
    :param net_arch: hidden layers of actor and critic, ``[256, 256]``, or ``dict(pi=[...], qf=[...])``
    :param normalize_observations: running z-score of the observations, clipped to the encoder's range, for actor
        and critic; turn it off under ``VecNormalize``
    :param features_extractor_class: an extractor of your own in place of the normalisation
    :param features_extractor_kwargs: its arguments
    :param share_features_extractor: one set of observation statistics for actor and critic (the default with
        ``normalize_observations``)
    :param kwargs: arguments of SB3's policy
    :raises ValueError: if the observation space is not a vector Box, or a value is not allowed
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        *,
        time_steps: int = PopSANOptions.time_steps,
        neuron: str = PopSANOptions.neuron,
        neuron_kwargs: Mapping[str, Any] | None = None,
        surrogate: str = PopSANOptions.surrogate,
        surrogate_kwargs: Mapping[str, Any] | None = None,
        encoder: str = PopSANOptions.encoder,
        encoder_population: int = PopSANOptions.encoder_population,
        encoder_std: float | Sequence[float] = PopSANOptions.encoder_std,
        decoder_population: int = PopSANOptions.decoder_population,
        mean_range: Range = PopSANOptions.mean_range,
        precision: str = PopSANOptions.precision,
        normalize_observations: bool = True,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        share_features_extractor: bool | None = None,
        **kwargs: Any,
    ) -> None:
        _check_observation_space(observation_space)
        _check_activation(kwargs.get("activation_fn"))
        # Plain values may be set before nn.Module's constructor, and SB3's constructor builds the networks.
        self.popsan_options = PopSANOptions(
            time_steps=time_steps,
            neuron=neuron,
            neuron_kwargs=neuron_kwargs,
            surrogate=surrogate,
            surrogate_kwargs=surrogate_kwargs,
            encoder=encoder,
            encoder_population=encoder_population,
            encoder_std=encoder_std,
            decoder_population=decoder_population,
            mean_range=mean_range,
            precision=precision,
        )
        self.normalize_observations = normalize_observations
        if normalize_observations:
            if features_extractor_class is not None:
                raise ValueError(
                    f"features_extractor_class={features_extractor_class.__name__} would replace the observation "
                    "normalisation; pass normalize_observations=False with it"
                )
            features_extractor_class = RunningNormExtractor
            # PopSAN clips where its receptive fields end.
            limits = mean_ranges(mean_range, get_flattened_obs_dim(observation_space))
            features_extractor_kwargs = {"clip": limits.abs().max().item()}
        if share_features_extractor is None:
            share_features_extractor = normalize_observations
        super().__init__(  # type: ignore[call-arg]
            observation_space,
            action_space,
            lr_schedule,
            net_arch=_check_net_arch(net_arch),
            features_extractor_class=features_extractor_class or FlattenExtractor,
            features_extractor_kwargs=features_extractor_kwargs,
            share_features_extractor=share_features_extractor,
            **kwargs,
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        data.update(dataclasses.asdict(self.popsan_options), normalize_observations=self.normalize_observations)
        if self.normalize_observations:
            del data["features_extractor_class"], data["features_extractor_kwargs"]
        return data


def _check_observation_space(space: spaces.Space) -> None:
    flatten = "wrap the environment in gymnasium.wrappers.FlattenObservation to encode it as one vector"
    if isinstance(space, spaces.Dict | spaces.Tuple):
        kind, advice = "a Dict or Tuple", f"{flatten}, or use SB3's MultiInputPolicy"
    elif isinstance(space, spaces.Box) and is_image_space(space):
        kind, advice = "images", "use SB3's CnnPolicy"
    elif not isinstance(space, spaces.Box):
        kind, advice = f"{type(space).__name__} observations", f"{flatten} (one-hot), or use SB3's MlpPolicy"
    else:
        return
    raise ValueError(f"PopSANPolicy encodes vector observations (Box), not {kind}: {space}; {advice}")


def _check_activation(activation_fn: type[nn.Module] | None) -> None:
    if isinstance(activation_fn, type) and issubclass(activation_fn, MemoryModule):
        raise ValueError(
            f"activation_fn={activation_fn.__name__} would put spikes into the critic; the actor spikes by itself, "
            "choose its neuron by name: neuron='cuba_lif', 'lif', 'plif' or 'if'"
        )


def _check_net_arch(net_arch: object) -> Any:
    if net_arch is None:
        return list(NET_ARCH)
    if not isinstance(net_arch, dict):
        return hidden_sizes("net_arch", net_arch)
    if set(net_arch) != {"pi", "qf"}:
        raise ValueError(f"net_arch={net_arch!r} must have the keys 'pi' (actor) and 'qf' (critic)")
    # A critic without hidden layers is SB3's business.
    return {"pi": hidden_sizes("net_arch['pi']", net_arch["pi"]), "qf": net_arch["qf"]}
