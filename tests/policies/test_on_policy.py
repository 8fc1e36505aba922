"""PPO, A2C, TRPO: what is special about actors that are compared with the actors they were."""

import copy

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback

from sb3_spiking.policies import RunningNormExtractor
from tests.envs import AnyEnv
from tests.policies.cells import BOX, CONTRIB, VECTOR, Cell


class FirstRatios(BaseCallback):
    """Before the first gradient step of each update: the policy that will be trained against the one that acted."""

    def _on_training_start(self):
        self.ratios = []
        collected = self.model.rollout_buffer.get

        def get(batch_size=None):
            for data in collected(batch_size):
                _, log_prob, _ = self.model.policy.evaluate_actions(data.observations, data.actions)
                self.ratios.append(th.exp(log_prob - data.old_log_prob).detach())
                yield data

        self.model.rollout_buffer.get = get

    def _on_step(self):
        return True


@pytest.mark.parametrize("policy", ["PopSANPolicy", "SpikingMlpPolicy"])
def test_the_policy_that_is_trained_is_the_one_that_acted(policy):
    # Observation statistics that changed between rollout and update would make it another policy.
    callback = FirstRatios()
    model = Cell(PPO, policy).model(n_steps=64, batch_size=64, n_epochs=1)
    model.learn(4 * 64, callback=callback)
    assert len(callback.ratios) == 4
    for ratio in callback.ratios:
        th.testing.assert_close(ratio, th.ones_like(ratio), rtol=0, atol=1e-4)
    assert model.policy.pi_features_extractor.running_next_count > 0


def test_statistics_are_in_use_when_the_agent_acts_next():
    model = Cell(PPO, "PopSANPolicy").model(n_steps=64, batch_size=64, n_epochs=1).learn(64)
    norm = model.policy.pi_features_extractor
    assert isinstance(norm, RunningNormExtractor)
    assert norm.running_count == 0
    model.predict(np.zeros(3, np.float32))
    assert norm.running_count > 0
    th.testing.assert_close(norm.running_mean, th.full((3,), 5.0), rtol=0, atol=1.0)


def test_actor_and_critic_have_their_own_learning_rates():
    moved = {}
    for scale in (1.0, 0.1):
        model = Cell(A2C, "PopSANPolicy").model(
            policy_kwargs={"actor_lr_scale": scale, "optimizer_class": th.optim.Adam}, learning_rate=1e-3
        )
        before = copy.deepcopy(model.policy.state_dict())
        model.learn(5)
        after = model.policy.state_dict()
        moved[scale] = [
            (after[name] - before[name]).abs().max().item() for name in ("action_net.decoder.bias", "value_net.bias")
        ]
    # Adam's first step has the size of the learning rate.
    assert moved[1.0] == pytest.approx([1e-3, 1e-3], rel=0.02)
    assert moved[0.1] == pytest.approx([1e-4, 1e-3], rel=0.02)


def test_critic_is_sb3s():
    spiking = Cell(PPO, "PopSANPolicy").model().policy
    ann = PPO("MlpPolicy", AnyEnv(VECTOR, BOX), policy_kwargs={"net_arch": [16, 16]}, device="cpu").policy
    shapes = [[p.shape for p in policy.mlp_extractor.value_net.parameters()] for policy in (spiking, ann)]
    assert shapes[0] == shapes[1]
    assert not list(spiking.mlp_extractor.policy_net.parameters())


def test_first_policy_hardly_depends_on_the_observation():
    cell = Cell(PPO, "PopSANPolicy")
    observations = th.as_tensor(cell.observations(64))
    spread = {}
    for ortho_init in (True, False):
        policy = cell.model(policy_kwargs={"ortho_init": ortho_init}).policy
        spread[ortho_init] = policy.get_distribution(observations).mode().std(dim=0).max().item()
    assert spread[True] < 0.02
    assert spread[False] > spread[True]


def test_poisson_encoder_is_warned_about():
    with pytest.warns(UserWarning, match="encoder='poisson' draws other spikes"):
        Cell(PPO, "PopSANPolicy").model(policy_kwargs={"encoder": "poisson"})


@pytest.mark.parametrize(("net_arch", "pi", "vf"), [([8], [8], [8]), ({"pi": [8, 4], "vf": []}, [8, 4], [])])
def test_net_arch_of_actor_and_critic(net_arch, pi, vf):
    policy = Cell(PPO, "SpikingMlpPolicy").model(policy_kwargs={"net_arch": net_arch}).policy
    assert [layer.synapses.out_features for layer in policy.action_net.layers] == pi
    assert [m.out_features for m in policy.mlp_extractor.value_net if isinstance(m, th.nn.Linear)] == vf


def test_keys_of_other_families_are_refused():
    with pytest.raises(ValueError, match="'pi' and 'vf'"):
        Cell(PPO, "PopSANPolicy").model(policy_kwargs={"net_arch": {"pi": [8], "qf": [8]}})


@pytest.mark.skipif(not CONTRIB, reason="sb3-contrib is not installed")
@pytest.mark.parametrize("neuron", ["cuba_lif", "lif", "plif", "if", "dynamic"])
def test_trpos_curvature_is_the_one_of_spikingjellys_nodes(neuron):
    from sb3_contrib import TRPO

    model = Cell(TRPO, "PopSANPolicy").model(
        AnyEnv(VECTOR, spaces.Discrete(3)), policy_kwargs={"neuron": neuron, "neuron_kwargs": {"threshold": 0.3}}
    )
    policy = model.policy.double()
    observations = th.as_tensor(Cell(TRPO, "PopSANPolicy").observations(32)).double()
    parameters = list(policy.action_net.parameters())

    def curvature():
        logits = policy.action_net(policy.pi_features_extractor(observations))
        kl = th.distributions.kl_divergence(
            th.distributions.Categorical(logits=logits.detach()), th.distributions.Categorical(logits=logits)
        ).mean()
        first = th.autograd.grad(kl, parameters, create_graph=True)
        return th.autograd.grad(sum(g.sum() for g in first), parameters, allow_unused=True, materialize_grads=True)

    policy.set_training_mode(False)
    fused = curvature()
    for layer in policy.action_net.layers:  # A watched node runs itself.
        layer.neuron.register_forward_hook(lambda *_: None)
    own = curvature()
    assert all(product.abs().sum() > 0 for product in fused)
    th.testing.assert_close(fused, own, rtol=1e-8, atol=1e-10)
