"""Trained and converted agents answer the same questions."""

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, SAC

from sb3_spiking.conversion import convert
from sb3_spiking.evaluation.agents import TrainedAgent, as_agent


@pytest.mark.parametrize("encoder", ["deterministic", "poisson"])
def test_the_spikes_shown_are_those_that_decide(encoder):
    policy = SAC("PopSANPolicy", "Pendulum-v1", policy_kwargs={"encoder": encoder, "net_arch": [16]}, seed=0).policy
    observations = np.array([[0.3, -0.9, 1.5]], np.float32)
    th.manual_seed(7)
    agent = TrainedAgent(policy, "SAC")
    recording = agent.record(observations)
    action, _ = policy.predict(observations, deterministic=True)
    output = policy.spiking_network.decoder(recording.populations[-1].spikes)
    low, high = policy.action_space.low, policy.action_space.high
    with th.no_grad():
        expected = low + 0.5 * (np.tanh(output.numpy()) + 1.0) * (high - low)
    np.testing.assert_allclose(action, expected, rtol=1e-5)
    again = agent.record(observations)
    assert th.equal(recording.populations[0].spikes, again.populations[0].spikes) == (encoder == "deterministic")


def test_agents_that_do_not_spike_are_refused():
    model = DQN("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [4]}, buffer_size=10)
    with pytest.raises(TypeError, match="DQN with DQNPolicy does not spike"):
        as_agent(model)
    with pytest.raises(TypeError, match="agent=DQNPolicy must be a model with a spiking policy"):
        as_agent(model.policy)
    snn = convert(model, observations=np.zeros((10, 4), np.float32))
    assert as_agent(snn) is snn
