"""Spiking networks on torch and SpikingJelly. Knows nothing of stable_baselines3."""

import logging

from sb3_spiking.snn.decoders import Decoder
from sb3_spiking.snn.encoders import (
    AnalogEncoder,
    DeterministicEncoder,
    DirectEncoder,
    PoissonEncoder,
    PopulationEncoder,
    RoundedEncoder,
)
from sb3_spiking.snn.inputs import Part
from sb3_spiking.snn.layers import IntraConnectedLayer, SpikingLayer
from sb3_spiking.snn.networks import NetworkSpec, SpikingNetwork
from sb3_spiking.snn.options import SpikingOptions
from sb3_spiking.snn.recording import PopulationRecord, Recording, SynapseRecord

# SpikingJelly's neurons register Triton operators, and torch warns for each of them where there is no Triton.
logging.getLogger("torch._library.triton").addFilter(
    lambda record: not record.getMessage().startswith("Triton not available")
)

__all__ = [
    "AnalogEncoder",
    "Decoder",
    "DeterministicEncoder",
    "DirectEncoder",
    "IntraConnectedLayer",
    "NetworkSpec",
    "Part",
    "PoissonEncoder",
    "PopulationEncoder",
    "PopulationRecord",
    "Recording",
    "RoundedEncoder",
    "SpikingLayer",
    "SpikingNetwork",
    "SpikingOptions",
    "SynapseRecord",
]
