"""Spiking networks on torch and SpikingJelly. Knows nothing of stable_baselines3."""

import logging

from sb3_spiking.snn.decoders import PopulationDecoder
from sb3_spiking.snn.encoders import AnalogEncoder, DeterministicEncoder, PoissonEncoder, PopulationEncoder
from sb3_spiking.snn.networks import LayerRecord, PopSAN, PopSANOptions, SpikingLayer

# SpikingJelly's neurons register Triton operators, and torch warns for each of them where there is no Triton.
logging.getLogger("torch._library.triton").addFilter(
    lambda record: not record.getMessage().startswith("Triton not available")
)

__all__ = [
    "AnalogEncoder",
    "DeterministicEncoder",
    "LayerRecord",
    "PoissonEncoder",
    "PopSAN",
    "PopSANOptions",
    "PopulationDecoder",
    "PopulationEncoder",
    "SpikingLayer",
]
