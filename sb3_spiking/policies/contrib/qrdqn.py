"""QRDQN: spiking quantiles of the action values."""

from dataclasses import replace
from typing import Any

from sb3_contrib.qrdqn.policies import QRDQNPolicy, QuantileNetwork

from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.value import SpikingValueNetwork, SpikingValuePolicy


class SpikingQuantileNetwork(SpikingValueNetwork, QuantileNetwork):
    """SB3's quantile network with a spiking network behind the features."""

    head = "quantile_net"


class SpikingQRDQNPolicy(SpikingValuePolicy, QRDQNPolicy):
    """SB3's QRDQN policy with spiking networks."""

    network_class = SpikingQuantileNetwork

    def make_quantile_net(self) -> Any:
        return self.make_network()

    def _online(self) -> Any:
        return self.quantile_net


class PopSANPolicy(PopulationCoded, SpikingQRDQNPolicy):
    """Population-coded observations for QRDQN; the quantiles are read from the last hidden layer."""

    preset = replace(PopulationCoded.preset, decoder_population=None)


class SpikingMlpPolicy(DirectCurrent, SpikingQRDQNPolicy):
    """Spiking quantile network on direct currents."""


class SpikingCnnPolicy(Images, SpikingQRDQNPolicy):
    """Spiking convolutional quantile network."""


class SpikingMultiInputPolicy(Dictionaries, SpikingQRDQNPolicy):
    """Spiking quantile network on Dict observations."""
