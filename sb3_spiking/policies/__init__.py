"""SB3 policies, one module per algorithm family."""

from sb3_spiking.policies.normalization import RunningNormExtractor
from sb3_spiking.policies.observations import ConvExtractor
from sb3_spiking.policies.td3 import PopSANPolicy

__all__ = ["ConvExtractor", "PopSANPolicy", "RunningNormExtractor"]
