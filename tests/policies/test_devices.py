"""
Policies make no tensors on a device of their own choice.

``meta`` stands for a GPU: it has shapes and no numbers, and refuses to meet tensors of the CPU.
"""

import pytest
import torch as th
from stable_baselines3 import DQN, PPO, SAC, TD3

from sb3_spiking import make_minatar_env
from sb3_spiking.conversion import convert
from sb3_spiking.policies import RunningNormExtractor
from sb3_spiking.snn import encoders

OPTIONS = [
    {},
    {"neuron": "plif", "surrogate": "atan"},
    {"neuron": "dynamic", "encoder": "analog"},
    {"encoder": "poisson", "decoder": "max"},
    {"encoder": "direct", "decoder": "mean", "decoder_population": None},
    {"membrane_norm": "layer", "decoder": "last"},
    {"intra_connections": True},
    {"precision": "bfloat16"},
]


@pytest.fixture(autouse=True)
def no_numbers(monkeypatch):
    """Leave out what looks at numbers."""
    monkeypatch.setattr(encoders, "_check_finite", lambda observations: None)
    monkeypatch.setattr(RunningNormExtractor, "_warn_if_nothing_was_gathered", lambda extractor: None)
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", False)


def on_another_device(module):
    module.to("meta")
    module.train(False)
    return module


def learns(network, outputs):
    outputs.sum().backward()
    devices = {parameter.grad.device.type for parameter in network.parameters() if parameter.grad is not None}
    return devices == {outputs.device.type} == {"meta"}


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is slower")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_actor(options):
    actor = on_another_device(TD3("PopSANPolicy", "Pendulum-v1", buffer_size=1, policy_kwargs=options).policy.actor)
    assert learns(actor, actor(th.empty(4, 3, device="meta")))


@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_the_values_and_log_probabilities_of_actor_critics(algorithm):
    policy = on_another_device(algorithm("PopSANPolicy", "Pendulum-v1").policy)
    observations = th.empty(4, 3, device="meta")
    if algorithm is PPO:
        values, log_prob, _ = policy.evaluate_actions(observations, th.empty(4, 1, device="meta"))
        assert learns(policy, values.sum() + log_prob.sum())
    else:
        actions, log_prob = policy.actor.action_log_prob(observations)
        assert learns(policy.actor, actions.sum() + log_prob.sum())


@pytest.mark.parametrize("correction", [False, True])
def test_values(correction):
    model = DQN("PopSANPolicy", "CartPole-v1", buffer_size=1, policy_kwargs={"common_mode_correction": correction})
    q_net = on_another_device(model.policy.q_net)
    assert learns(q_net, q_net(th.empty(4, 4, device="meta")))


def test_images():
    pytest.importorskip("minatar", reason="MinAtar is an extra")
    model = DQN("SpikingCnnPolicy", make_minatar_env("breakout", 1, 0), buffer_size=1)
    q_net = on_another_device(model.policy.q_net)
    images = th.empty(4, *model.policy.observation_space.shape, dtype=th.uint8, device="meta")
    assert learns(q_net, q_net(images))


@pytest.mark.parametrize("coding", ["ternary", "rate", "signed", "residual", "few-spike"])
def test_converted_networks(coding):
    dqn = DQN("MlpPolicy", "CartPole-v1", buffer_size=1, device="cpu")
    policy = convert(dqn, th.rand(50, 4).numpy(), method=coding)
    network = on_another_device(policy.network)
    assert network(th.empty(4, 4, device="meta")).device.type == "meta"
