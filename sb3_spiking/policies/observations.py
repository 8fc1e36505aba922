"""Features extractors: observations as flat features."""

from dataclasses import dataclass
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import nn

from sb3_spiking.policies.normalization import RunningNormExtractor
from sb3_spiking.policies.spaces import check_names
from sb3_spiking.policies.torso import AnnTorso
from sb3_spiking.snn import Part, SpikingOptions
from sb3_spiking.snn.convolutions import ConvArch
from sb3_spiking.snn.encoders import mean_ranges

DIRECT_CLIP = 10.0
"""Limit of normalised observations that are currents, as in SB3's ``VecNormalize``."""

ClassAndKwargs = tuple[type[BaseFeaturesExtractor], dict[str, Any]]


def parts_of(space: spaces.Space, normalized_image: bool = False) -> tuple[Part, ...]:
    """
    Return the layout of the flat features of an observation.

    :param space: observation space of the policy, images with their channels first
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
    Flatten the entries of a Dict observation into one vector, in the order of the space.

    :param observation_space: a Dict
    :param normalize: running z-score of the entries that are vectors (Box)
    :param clip: limit of the normalised entries
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


class ConvExtractor(BaseFeaturesExtractor):
    """
    Extract features by an ANN with the geometry of the spiking input stage: for critics and for ANN baselines.

    With ``conv_arch="nature"`` this is SB3's ``NatureCNN``; the small one suits MinAtar, which ``NatureCNN`` refuses.

    :param observation_space: images, or a Dict with images
    :param conv_arch: see [`SpikingOptions`][sb3_spiking.snn.SpikingOptions]
    :param normalize: running z-score of a Dict's entries that are vectors
    :param clip: limit of the normalised entries
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

        :param observations: ``[N, *shape]``, or a dict of them
        :return: ``[N, features_dim]``; features of images are >= 0
        """
        return self.torso(self.flat(observations))


@dataclass(frozen=True)
class Extractors:
    """
    Classes and arguments of a policy's features extractors.

    :param parts: layout of the features; None for a vector of any size
    :param actor: extractor of the spiking network
    :param critic: extractor of an ANN critic
    """

    parts: tuple[Part, ...] | None
    actor: ClassAndKwargs
    critic: ClassAndKwargs

    @property
    def can_share(self) -> bool:
        """Whether actor and critic can share one extractor without parameters."""
        return self.parts is not None and self.actor == self.critic


def make_extractors(
    space: spaces.Space, options: SpikingOptions, normalize: bool, normalized_image: bool, deferred: bool
) -> Extractors:
    """
    Choose the extractors for an observation space.

    :param space: observation space that the policy takes
    :param options: options of the spiking network; observations are clipped at the range of its receptive fields
    :param normalize: running z-score of vectors (Box)
    :param normalized_image: whether images are scaled to [0, 1] already
    :param deferred: see [`RunningNormExtractor`][sb3_spiking.policies.RunningNormExtractor]
    :return: classes and arguments
    :raises ValueError: if ``mean_range`` does not fit the observations, or the name of an entry cannot be used
    """
    parts = parts_of(space, normalized_image)
    vectors = sum(part.size for part in parts if not part.is_image)
    limits = DIRECT_CLIP
    if options.encoder != "direct" and vectors > 0:
        limits = mean_ranges(options.mean_range, vectors).abs().max().item()
    norm = {"clip": limits, "deferred": deferred}
    actor: ClassAndKwargs = (FlattenExtractor, {})
    if isinstance(space, spaces.Dict):
        check_names(space)
        actor = (FlatExtractor, {**norm, "normalize": normalize, "normalized_image": normalized_image})
    elif normalize and isinstance(space, spaces.Box) and vectors > 0:
        actor = (RunningNormExtractor, norm)
    if not any(part.is_image for part in parts):
        return Extractors(parts, actor, actor)
    return Extractors(parts, actor, (ConvExtractor, {**actor[1], "conv_arch": options.conv_arch}))
