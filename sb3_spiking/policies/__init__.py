"""SB3 policies with spiking networks, one module per algorithm family."""

from typing import NoReturn

from sb3_spiking.policies.normalization import RunningNormExtractor
from sb3_spiking.policies.observations import ConvExtractor
from sb3_spiking.policies.presets import NAMES

__all__ = ["ConvExtractor", "RunningNormExtractor"]


def __getattr__(name: str) -> NoReturn:
    advice = ""
    if name in NAMES:
        advice = f"; the class of TD3 is sb3_spiking.policies.td3.{name}, and every algorithm takes the name {name!r}"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")
