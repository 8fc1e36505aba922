"""Checks that the channels of images are their first axis, as convolutions need them."""

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecTransposeImage, unwrap_vec_wrapper

from sb3_spiking.notices import warn

COLOURS = 4
"""Largest number of channels of a colour image, or of a short stack of grey images."""
SMALLEST = 8
"""Smallest side of an array with so few channels last that counts as an image; smaller ones may be grids of planes."""

WAY_OUT = (
    "SB3 transposes uint8 images from 0 to 255 by itself (VecTransposeImage), and scales them; put the channels of "
    "other images first with gymnasium.wrappers.TransformObservation"
)


def check_channels_first(space: spaces.Space, normalized_image: bool) -> None:
    """
    Reject images whose channels are their last axis, and warn of images whose axes are ambiguous.

    :param space: image space, or a Dict with images
    :param normalized_image: whether images are scaled to [0, 1] already
    :raises ValueError: if the channels come last; the message names the entry and the way out
    """
    for name, entry in images_in(space, normalized_image).items():
        image = f"images {name!r} of shape {entry.shape}" if name else f"images of shape {entry.shape}"
        first, second, last = entry.shape
        if second == last or (first <= min(second, last) and first != second):
            continue  # square images, or fewer channels than pixels
        if last <= COLOURS and min(first, second) >= SMALLEST:
            raise ValueError(f"{image} have their channels last and would be convolved over the wrong axes; {WAY_OUT}")
        warn(
            f"{image} are taken for {first} channels of {second} x {last} pixels. If the channels are the last axis: "
            f"{WAY_OUT}"
        )


def warn_if_transposed(algorithm: BaseAlgorithm) -> None:
    """
    Warn of images that SB3 has transposed although their channels seem to be first: it takes the smallest axis.

    :param algorithm: algorithm, with or without an environment
    """
    wrapper = None if algorithm.env is None else unwrap_vec_wrapper(algorithm.env, VecTransposeImage)
    if wrapper is None or wrapper.skip:
        return
    for name, entry in images_in(wrapper.venv.observation_space, normalized_image=False).items():
        first, second, last = entry.shape
        if second == last != first:
            warn(
                f"SB3 takes images{f' {name!r}' if name else ''} of shape {entry.shape} for channels-last, since their "
                f"first axis is not the smallest, and transposes them. For {first} channels of {second} x {last} "
                "pixels, wrap the vectorised environment: VecTransposeImage(env, skip=True)"
            )


def images_in(space: spaces.Space, normalized_image: bool) -> dict[str, spaces.Space]:
    """
    Return the images of an observation space.

    :param space: observation space
    :param normalized_image: whether images are scaled to [0, 1] already
    :return: image spaces by their names in a Dict; the name is ``""`` without a Dict
    """
    entries = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return {name: entry for name, entry in entries.items() if is_image_space(entry, normalized_image=normalized_image)}
