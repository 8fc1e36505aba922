"""What a policy sees: the observation spaces of each policy, and how they become flat features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import nn

from sb3_spiking.policies.images import check_channels_first
from sb3_spiking.policies.normalization import RunningNormExtractor
from sb3_spiking.policies.spaces import check_names
from sb3_spiking.snn import Part, SpikingOptions
from sb3_spiking.snn.convolutions import ConvArch, convolutions, dense_size
from sb3_spiking.snn.encoders import mean_ranges

DIRECT_CLIP = 10.0
"""Limit of normalised observations that are currents, as in SB3's ``VecNormalize``."""

FLATTEN = "wrap the environment in gymnasium.wrappers.FlattenObservation to encode it as one vector"


class PopulationCoded:
    """Vector observations, each dimension coded by a population of receptive fields."""

    preset: ClassVar[SpikingOptions] = SpikingOptions()

    @staticmethod
    def check_observation_space(space: spaces.Space, normalized_image: bool) -> None:
        if isinstance(space, spaces.Dict | spaces.Tuple):
            kind, advice = "a Dict or Tuple", f"{FLATTEN}, or use SpikingMultiInputPolicy"
        elif is_image_space(space, normalized_image=normalized_image):
            kind, advice = "images", "use SpikingCnnPolicy"
        elif not isinstance(space, spaces.Box):
            kind, advice = f"{type(space).__name__} observations", f"{FLATTEN} (one-hot), or use SpikingMlpPolicy"
        else:
            return
        raise ValueError(f"PopSANPolicy encodes vector observations (Box), not {kind}: {space}; {advice}")


class DirectCurrent:
    """Vector observations as constant input currents."""

    preset: ClassVar[SpikingOptions] = SpikingOptions(encoder="direct", decoder_population=None)

    @staticmethod
    def check_observation_space(space: spaces.Space, normalized_image: bool) -> None:
        if isinstance(space, spaces.Dict | spaces.Tuple):
            kind, advice = "a Dict or Tuple", f"use SpikingMultiInputPolicy, or {FLATTEN}"
        elif is_image_space(space, normalized_image=normalized_image):
            kind, advice = "images", "use SpikingCnnPolicy"
        else:
            return
        raise ValueError(f"SpikingMlpPolicy takes vector observations, not {kind}: {space}; {advice}")


# Without normalisation the spikes of real frames die out from layer to layer (docs/results.md, firing rates).
CONVOLUTIONAL = SpikingOptions(encoder="direct", decoder_population=None, membrane_norm="layer", time_steps=4)


class Images:
    """Image observations, through spiking convolutions."""

    preset: ClassVar[SpikingOptions] = CONVOLUTIONAL

    @staticmethod
    def check_observation_space(space: spaces.Space, normalized_image: bool) -> None:
        if is_image_space(space, normalized_image=normalized_image):
            check_channels_first(space, normalized_image)
            return
        if isinstance(space, spaces.Dict | spaces.Tuple):
            advice = "use SpikingMultiInputPolicy"
        elif isinstance(space, spaces.Box) and len(space.shape) == 3:
            advice = (
                "images are uint8 from 0 to 255; pass normalize_images=False for floats that are scaled already, "
                "and make_minatar_env for MinAtar's boolean grids"
            )
        elif isinstance(space, spaces.Box) and len(space.shape) in (2, 4):
            advice = (
                "images have three axes, channels x height x width: give a grey image a channel of its own, and put "
                "stacked frames into the channels (VecFrameStack); for vectors use PopSANPolicy or SpikingMlpPolicy"
            )
        else:
            advice = "use PopSANPolicy or SpikingMlpPolicy"
        raise ValueError(f"SpikingCnnPolicy takes images, not {space}; {advice}")


class Dictionaries:
    """Dict observations, each entry an image or a vector."""

    preset: ClassVar[SpikingOptions] = CONVOLUTIONAL

    @staticmethod
    def check_observation_space(space: spaces.Space, normalized_image: bool) -> None:
        if not isinstance(space, spaces.Dict):
            raise ValueError(
                f"SpikingMultiInputPolicy takes Dict observations, not {space}; use PopSANPolicy or SpikingMlpPolicy "
                "for vectors, SpikingCnnPolicy for images"
            )
        check_channels_first(space, normalized_image)


def parts_of(space: spaces.Space, normalized_image: bool = False) -> tuple[Part, ...]:
    """
    Tell what lies where in the flat features of an observation.

    :param space: the policy's observation space, images with their channels first
    :param normalized_image: whether images are scaled to [0, 1] already
    :return: one part, or one for each entry of a Dict, in its order
    """
    entries = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    return tuple(
        Part(name, entry.shape if _is_image(entry, normalized_image) else (get_flattened_obs_dim(entry),))
        for name, entry in entries
    )


def _is_image(space: spaces.Space, normalized_image: bool) -> bool:
    return is_image_space(space, normalized_image=normalized_image)


class FlatExtractor(BaseFeaturesExtractor):
    """
    The entries of a Dict observation as one flat vector, in the order of the space.

    :param observation_space: a Dict
    :param normalize: running z-score of the entries that are vectors (Box)
    :param clip: limit of these
    :param normalized_image: whether images are scaled to [0, 1] already
    :param deferred: see [`RunningNormExtractor`][sb3_spiking.policies.RunningNormExtractor]
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        normalize: bool = True,
        clip: float = 3.0,
        normalized_image: bool = False,
        deferred: bool = False,
    ) -> None:
        super().__init__(observation_space, sum(part.size for part in parts_of(observation_space, normalized_image)))
        self.extractors = nn.ModuleDict()
        for name, entry in observation_space.spaces.items():
            vector = isinstance(entry, spaces.Box) and not _is_image(entry, normalized_image)
            self.extractors[name] = (
                RunningNormExtractor(entry, clip, deferred) if vector and normalize else nn.Flatten(start_dim=1)
            )

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        """
        Flatten a batch.

        :param observations: ``[N, *shape]`` of each entry
        :return: ``[N, features_dim]``
        """
        return th.cat([extractor(observations[name]) for name, extractor in self.extractors.items()], dim=1)


class AnnTorso(nn.Module):
    """
    The ANN counterpart of the spiking input stages: convolutions for images, nothing for vectors.

    :param parts: what lies where in the flat features
    :param conv_arch: see [`SpikingOptions`][sb3_spiking.snn.SpikingOptions]
    """

    def __init__(self, parts: Sequence[Part], conv_arch: ConvArch = None) -> None:
        super().__init__()
        self.sizes = [part.size for part in parts]
        self.branches = nn.ModuleList(_branch(part, conv_arch) for part in parts)
        self.features = sum(dense_size(part.shape) if part.is_image else part.size for part in parts)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """
        Run all the branches.

        :param features: ``[N, sum of the parts' sizes]``
        :return: ``[N, features]``
        """
        pieces = features.split(self.sizes, dim=1)
        return th.cat([branch(piece) for branch, piece in zip(self.branches, pieces, strict=True)], dim=1)


def _branch(part: Part, conv_arch: ConvArch) -> nn.Module:
    if not part.is_image:
        return nn.Identity()
    layers, shapes = convolutions(conv_arch, part.shape)
    modules: list[nn.Module] = [nn.Unflatten(1, part.shape)]
    for layer in layers:
        modules += [layer, nn.ReLU()]
    last = Part("", shapes[-1]).size
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(last, dense_size(part.shape)), nn.ReLU())


class ConvExtractor(BaseFeaturesExtractor):
    """
    ANN torso with the geometry of the spiking one: for critics, and for ANN agents to compare with.

    With ``conv_arch="nature"`` this is SB3's ``NatureCNN``; the small one suits MinAtar, which ``NatureCNN`` refuses.

    :param observation_space: images, or a Dict with images
    :param conv_arch: see [`SpikingOptions`][sb3_spiking.snn.SpikingOptions]
    :param normalize: running z-score of a Dict's entries that are vectors
    :param clip: limit of these
    :param normalized_image: whether images are scaled to [0, 1] already
    :param deferred: see [`RunningNormExtractor`][sb3_spiking.policies.RunningNormExtractor]
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        conv_arch: ConvArch = None,
        normalize: bool = True,
        clip: float = 3.0,
        normalized_image: bool = False,
        deferred: bool = False,
    ) -> None:
        torso = AnnTorso(parts_of(observation_space, normalized_image), conv_arch)
        super().__init__(observation_space, torso.features)
        self.flat: BaseFeaturesExtractor
        if isinstance(observation_space, spaces.Dict):
            self.flat = FlatExtractor(observation_space, normalize, clip, normalized_image, deferred)
        else:
            self.flat = FlattenExtractor(observation_space)
        self.torso = torso

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """
        Extract features.

        :param observations: ``[N, *shape]``, or these of each entry
        :return: ``[N, features_dim]``, not negative where they come from images
        """
        return self.torso(self.flat(observations))


@dataclass(frozen=True)
class Extractors:
    """
    The features extractors of a policy: classes and their arguments.

    :param parts: what lies where in the features; None for a vector of any size
    :param flat: for the spiking network
    :param critic: for an ANN critic
    """

    parts: tuple[Part, ...] | None
    flat: tuple[type[BaseFeaturesExtractor], dict[str, Any]]
    critic: tuple[type[BaseFeaturesExtractor], dict[str, Any]]

    @property
    def can_share(self) -> bool:
        """Whether one extractor without parameters serves both."""
        return self.parts is not None and self.flat == self.critic


def make_extractors(
    space: spaces.Space, options: SpikingOptions, normalize: bool, normalized_image: bool, deferred: bool
) -> Extractors:
    """
    Choose the extractors for an observation space.

    :param space: a space that the policy takes
    :param options: of the spiking network; observations are clipped where its receptive fields end
    :param normalize: running z-score of vectors (Box)
    :param normalized_image: whether images are scaled to [0, 1] already
    :param deferred: see [`RunningNormExtractor`][sb3_spiking.policies.RunningNormExtractor]
    :return: the extractors
    :raises ValueError: if ``mean_range`` does not fit the observations, or the name of an entry cannot be used
    """
    parts = parts_of(space, normalized_image)
    vectors = sum(part.size for part in parts if not part.is_image)
    limits = DIRECT_CLIP
    if options.encoder != "direct" and vectors > 0:
        limits = mean_ranges(options.mean_range, vectors).abs().max().item()
    norm = {"clip": limits, "deferred": deferred}
    flat: tuple[type[BaseFeaturesExtractor], dict[str, Any]] = (FlattenExtractor, {})
    if isinstance(space, spaces.Dict):
        check_names(space)
        flat = (FlatExtractor, {**norm, "normalize": normalize, "normalized_image": normalized_image})
    elif normalize and isinstance(space, spaces.Box) and vectors > 0:
        flat = (RunningNormExtractor, norm)
    if not any(part.is_image for part in parts):
        return Extractors(parts, flat, flat)
    return Extractors(parts, flat, (ConvExtractor, {**flat[1], "conv_arch": options.conv_arch}))
