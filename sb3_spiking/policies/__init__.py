"""SB3 policies, one module per algorithm family."""

from sb3_spiking.policies.normalization import RunningNormExtractor
from sb3_spiking.policies.td3 import PopSANPolicy

__all__ = ["PopSANPolicy", "RunningNormExtractor"]
