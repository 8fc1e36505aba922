"""SB3 policies with spiking networks, one module per algorithm family."""

from sb3_spiking.policies.normalization import RunningNormExtractor
from sb3_spiking.policies.observations import ConvExtractor

__all__ = ["ConvExtractor", "RunningNormExtractor"]
