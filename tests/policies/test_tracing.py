"""
A policy that is traced, exported, compiled or transformed decides as the policy does.

Kernels are invisible to all of these: an agent used to become a constant, without an error.
"""

import io

import pytest
import torch as th
from stable_baselines3 import DQN, PPO, SAC, TD3
from torch import nn

from sb3_spiking.conversion import convert
from sb3_spiking.snn import SpikingNetwork, SpikingOptions
from tests.policies.cells import CELLS, Cell

BATCHES = (1, 3, 16)


class Deterministic(nn.Module):
    """What SB3's guide on exporting wraps a policy in."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy
        self.training = policy.training  # th.onnx.export gives a model its mode back

    def forward(self, observations):
        return self.policy._predict(observations, deterministic=True)


def entries(observations, function):
    if isinstance(observations, dict):
        return {name: function(entry) for name, entry in observations.items()}
    return function(observations)


def agent(cell, **policy_kwargs):
    """Return a policy whose observation statistics are not those of the start, and observations."""
    policy = cell.model(policy_kwargs=policy_kwargs).policy
    observations = policy.obs_to_tensor(cell.observations(max(BATCHES)))[0]
    policy.set_training_mode(True)
    for module in policy.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.fill_(4.5)
            module.running_var.fill_(3.0)
    for name, buffer in policy.named_buffers():
        if "running_next" in name:
            buffer.copy_(policy.get_buffer(name.replace("running_next_", "running_")))
    policy.set_training_mode(False)
    return policy, observations


def decides_alike(traced, policy, observations, batches=BATCHES):
    for size in batches:
        some = entries(observations, lambda entry, size=size: entry[:size])
        with th.no_grad():
            th.testing.assert_close(traced(some), policy._predict(some, deterministic=True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_traced_policy_decides_on_other_observations_and_batch_sizes(cell):
    policy, observations = agent(cell)
    first = entries(observations, lambda entry: entry[:1])
    with th.no_grad():
        traced = th.jit.trace(Deterministic(policy), (first,), strict=False)  # and torch traces again to compare
    file = io.BytesIO()
    th.jit.save(traced, file)  # refuses calls of Python
    file.seek(0)
    decides_alike(th.jit.load(file), policy, observations)


OPTIONS = [
    {"neuron": "plif", "surrogate": "atan", "encoder": "analog"},
    {"neuron": "dynamic", "surrogate": "sigmoid", "decoder": "max"},
    {"neuron": "lif", "neuron_kwargs": {"reset": "soft"}, "surrogate": "triangle", "membrane_norm": "layer"},
    {"neuron": "if", "intra_connections": True, "decoder": "last"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_policy_that_is_traced_with_gradients_enabled_decides_alike(options):
    policy, observations = agent(Cell(TD3, "PopSANPolicy"), **options)
    decides_alike(th.jit.trace(Deterministic(policy), observations[:2]), policy, observations)


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("algorithm", [TD3, PPO])
def test_tracing_a_policy_in_training_mode_neither_changes_nor_freezes_its_statistics(algorithm, mode):
    # SB3 loads a policy in training mode, and its guide exports it so.
    policy, observations = agent(Cell(algorithm, "PopSANPolicy"))
    policy.set_training_mode(mode)
    before = {name: buffer.clone() for name, buffer in policy.named_buffers()}
    # Torch's own check would run the policy once more, untraced.
    traced = th.jit.trace(Deterministic(policy), observations[:1], check_trace=not mode)
    assert all(th.equal(before[name], buffer) for name, buffer in policy.named_buffers())
    policy.set_training_mode(False)
    decides_alike(traced, policy, observations)


FEW = [
    Cell(TD3, "PopSANPolicy"),
    Cell(PPO, "PopSANPolicy"),
    Cell(SAC, "SpikingMlpPolicy"),
    Cell(DQN, "SpikingCnnPolicy"),
]


@pytest.fixture
def unchecked_distributions(monkeypatch):
    """Torch's distributions check their numbers, which stops th.export with SB3's own policies too."""
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", False)


@pytest.mark.usefixtures("unchecked_distributions")
@pytest.mark.parametrize("cell", FEW, ids=str)
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_decides_alike(cell, strict):
    if strict and cell.policy == "SpikingCnnPolicy":
        pytest.skip("SB3's preprocessing of images cannot be exported strictly, with its own policies neither")
    policy, observations = agent(cell, time_steps=2)
    sizes = ({0: th.export.Dim.DYNAMIC},)
    program = th.export.export(Deterministic(policy), (observations[:2],), dynamic_shapes=sizes, strict=strict)
    decides_alike(program.module(), policy, observations)


@pytest.mark.usefixtures("unchecked_distributions")
@pytest.mark.parametrize("cell", FEW, ids=str)
@pytest.mark.parametrize("dynamo", [False, True])
def test_an_onnx_model_decides_alike(cell, dynamo, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is in the extra dev")
    policy, observations = agent(cell, time_steps=2)
    path = str(tmp_path / "policy.onnx")
    sizes = (
        {"dynamic_shapes": ({0: th.export.Dim.DYNAMIC},)} if dynamo else {"dynamic_axes": {"observations": {0: "N"}}}
    )
    names = {"input_names": ["observations"], "output_names": ["actions"]}
    th.onnx.export(Deterministic(policy), (observations[:2],), path, dynamo=dynamo, verbose=False, **names, **sizes)
    session = runtime.InferenceSession(path)

    def decide(some):
        return th.from_numpy(session.run(None, {"observations": some.numpy()})[0])

    decides_alike(decide, policy, observations, (2, 3, 16))


def test_a_compiled_policy_decides_and_learns_alike():
    policy, observations = agent(Cell(TD3, "PopSANPolicy"))
    features = policy.spiking_features(observations)
    compiled = th.compile(policy.spiking_network, backend="eager", fullgraph=True)

    def gradients(network):
        policy.zero_grad()
        network(features).square().sum().backward()
        return [parameter.grad.clone() for parameter in policy.spiking_network.parameters()]

    th.testing.assert_close(gradients(compiled), gradients(policy.spiking_network))
    with th.no_grad():
        th.testing.assert_close(compiled(features), policy.spiking_network(features))


def test_transforms_of_functions_see_the_network():
    network = SpikingNetwork(3, 2, (8,), SpikingOptions(surrogate="atan"), nn.Tanh())
    features = th.randn(6, 3)
    decided = network(features).detach()
    with th.no_grad():
        one_by_one = th.func.vmap(lambda one: network(one[None])[0])(features)
        th.testing.assert_close(one_by_one, decided)
    (slow,) = th.autograd.grad(network(features.requires_grad_()).sum(), features)
    features = features.detach()
    th.testing.assert_close(th.func.grad(lambda x: network(x).sum())(features), slow)
    assert slow.abs().sum() > 0
    _, tangent = th.func.jvp(network, (features,), (th.ones_like(features),))
    th.testing.assert_close(tangent.sum(), slow.sum())
    with th.no_grad(), th.autograd.forward_ad.dual_level():
        dual = network(th.autograd.forward_ad.make_dual(features, th.ones_like(features)))
        assert th.autograd.forward_ad.unpack_dual(dual).primal.shape == decided.shape


def test_what_cannot_read_loops_says_what_can():
    network = SpikingNetwork(3, 2, (8,))
    for attempt in (th.jit.script, th.fx.symbolic_trace):
        with pytest.raises(TypeError, match=r"record it on an example instead: th\.jit\.trace"):
            attempt(network)
    policy = TD3("PopSANPolicy", "Pendulum-v1", buffer_size=1).policy
    with pytest.raises(TypeError, match=r"th\.jit\.script cannot read"):
        th.jit.script(Deterministic(policy))


@pytest.mark.parametrize("coding", ["ternary", "few-spike", "rate", "signed"])
@pytest.mark.parametrize("observations_traced", [1, 2])
def test_a_traced_converted_dqn_decides_on_other_observations_and_batch_sizes(coding, observations_traced):
    dqn = DQN("MlpPolicy", "CartPole-v1", buffer_size=1, device="cpu", seed=0)
    observations = th.randn(40, 4)
    policy = convert(dqn, observations.numpy(), method=coding)
    with th.no_grad():
        values = th.jit.trace(policy.network, observations[:observations_traced])
        th.testing.assert_close(values(observations), policy.network(observations), rtol=1e-5, atol=1e-5)
        actions = th.jit.trace(policy, observations[:observations_traced])
    assert th.equal(actions(observations), th.as_tensor(policy.predict(observations.numpy(), deterministic=True)[0]))


def test_what_a_traced_converted_dqn_would_lose_is_refused():
    dqn = DQN("MlpPolicy", "CartPole-v1", buffer_size=1, device="cpu", seed=0)
    observations = th.randn(40, 4)
    with pytest.raises(ValueError, match="coding='residual' carries a state"):
        th.jit.trace(convert(dqn, observations.numpy(), method="residual"), observations)
    at_random = convert(dqn, observations.numpy())
    at_random.epsilon = 0.1
    with pytest.raises(ValueError, match="pass deterministic=True"):
        th.jit.trace(lambda some: at_random(some, deterministic=False), observations)
