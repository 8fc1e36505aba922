"""DQN: spiking action values."""

from dataclasses import replace
from typing import Any

from stable_baselines3.dqn.policies import DQNPolicy, QNetwork

from sb3_spiking.policies.presets import Dictionaries, DirectCurrent, Images, PopulationCoded
from sb3_spiking.policies.value import SpikingValueNetwork, SpikingValuePolicy


class SpikingQNetwork(SpikingValueNetwork, QNetwork):
    """SB3's Q-network with a spiking network behind the features."""

    head = "q_net"


class SpikingDQNPolicy(SpikingValuePolicy, DQNPolicy):
    """SB3's DQN policy with spiking networks."""

    network_class = SpikingQNetwork

    def make_q_net(self) -> Any:
        return self.make_network()

    def _online(self) -> Any:
        return self.q_net


class PopSANPolicy(PopulationCoded, SpikingDQNPolicy):
    """Population-coded observations for DQN; the values are read from the last hidden layer."""

    preset = replace(PopulationCoded.preset, decoder_population=None)


class SpikingMlpPolicy(DirectCurrent, SpikingDQNPolicy):
    """Spiking Q-network on direct currents."""


class SpikingCnnPolicy(Images, SpikingDQNPolicy):
    """Spiking convolutional Q-network."""


class SpikingMultiInputPolicy(Dictionaries, SpikingDQNPolicy):
    """Spiking Q-network on Dict observations."""
