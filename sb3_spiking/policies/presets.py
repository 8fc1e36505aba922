"""The four policies of each family: the observations that each takes, and its default options."""

from enum import Enum
from typing import ClassVar

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from sb3_spiking.policies.images import check_channels_first
from sb3_spiking.snn import SpikingOptions


class Kind(Enum):
    """Kind of an observation space; the value is its name in errors."""

    VECTOR = "vectors"
    ONE_HOT = "discrete observations"
    IMAGE = "images"
    DICT = "a Dict"
    TUPLE = "a Tuple"


FLATTEN = "wrap the environment in gymnasium.wrappers.FlattenObservation"

POLICY_FOR = {
    Kind.VECTOR: "use PopSANPolicy or SpikingMlpPolicy",
    Kind.ONE_HOT: f"{FLATTEN} (one-hot), or use SpikingMlpPolicy",
    Kind.IMAGE: "use SpikingCnnPolicy",
    Kind.DICT: f"{FLATTEN} to encode it as one vector, or use SpikingMultiInputPolicy",
    Kind.TUPLE: f"{FLATTEN} to encode it as one vector",
}
"""Kind of an observation space -> advice in errors."""


def kind_of(space: spaces.Space, normalized_image: bool) -> Kind:
    """
    Return the kind of an observation space.

    :param space: observation space
    :param normalized_image: whether images are scaled to [0, 1] already
    """
    if isinstance(space, spaces.Dict):
        return Kind.DICT
    if isinstance(space, spaces.Tuple):
        return Kind.TUPLE
    if is_image_space(space, normalized_image=normalized_image):
        return Kind.IMAGE
    return Kind.VECTOR if isinstance(space, spaces.Box) else Kind.ONE_HOT


class Preset:
    """
    Name, observation spaces and default options of a policy; mixin, first among the bases.

    Subclasses set ``policy_name``, the ``kinds`` of observation spaces, the same in words (``takes``), and the default
    options (``preset``).
    """

    policy_name: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]
    takes: ClassVar[str]
    preset: ClassVar[SpikingOptions]

    @classmethod
    def check_observation_space(cls, space: spaces.Space, normalized_image: bool) -> None:
        """
        Check that the policy takes an observation space.

        :param space: observation space
        :param normalized_image: whether images are scaled to [0, 1] already
        :raises ValueError: if it does not; the message names the policy to use
        """
        kind = kind_of(space, normalized_image)
        if kind not in cls.kinds:
            called = f"{type(space).__name__} observations" if kind is Kind.ONE_HOT else kind.value
            raise ValueError(f"{cls.policy_name} takes {cls.takes}, not {called}: {space}; {cls.advice(space, kind)}")
        if kind in (Kind.IMAGE, Kind.DICT):
            check_channels_first(space, normalized_image)

    @classmethod
    def advice(cls, space: spaces.Space, kind: Kind) -> str:
        """
        Return the advice for a space that the policy does not take.

        :param space: observation space
        :param kind: its kind
        """
        return POLICY_FOR[kind]


class PopulationCoded(Preset):
    """Vector observations, each dimension coded by a population of receptive fields."""

    policy_name = "PopSANPolicy"
    kinds = (Kind.VECTOR,)
    takes = "vector observations (Box)"
    preset = SpikingOptions()


class DirectCurrent(Preset):
    """Vector observations as constant input currents."""

    policy_name = "SpikingMlpPolicy"
    kinds = (Kind.VECTOR, Kind.ONE_HOT)
    takes = "vector observations"
    preset = SpikingOptions(encoder="direct", decoder_population=None)


# Without normalisation the spikes of real frames die out from layer to layer (docs/results.md, firing rates).
CONVOLUTIONAL = SpikingOptions(encoder="direct", decoder_population=None, membrane_norm="layer", time_steps=4)


class Images(Preset):
    """Image observations, through spiking convolutions."""

    policy_name = "SpikingCnnPolicy"
    kinds = (Kind.IMAGE,)
    takes = "images"
    preset = CONVOLUTIONAL

    @classmethod
    def advice(cls, space: spaces.Space, kind: Kind) -> str:
        if kind is Kind.VECTOR and len(space.shape or ()) == 3:
            return (
                "images are uint8 from 0 to 255; pass normalize_images=False for floats that are scaled already, "
                "and make_minatar_env for MinAtar's boolean grids"
            )
        if kind is Kind.VECTOR and len(space.shape or ()) in (2, 4):
            return (
                "images have three axes, channels x height x width: give a grey image a channel of its own, and put "
                f"stacked frames into the channels (VecFrameStack); for vectors {POLICY_FOR[kind]}"
            )
        return super().advice(space, kind)


class Dictionaries(Preset):
    """Dict observations, each entry an image or a vector."""

    policy_name = "SpikingMultiInputPolicy"
    kinds = (Kind.DICT,)
    takes = "Dict observations"
    preset = CONVOLUTIONAL


NAMES = tuple(preset.policy_name for preset in (PopulationCoded, DirectCurrent, Images, Dictionaries))
"""Names of the policies of every family."""
