"""The direct way of ``predict`` gives what SB3's way gives, and stands aside where it cannot."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import BasePolicy
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from sb3_spiking.policies import common, deciding
from sb3_spiking.policies.td3 import PopSANPolicy
from tests.envs import CARTPOLE, AnyEnv, far
from tests.policies.cells import BOX, CELLS, CONTRIB, VECTOR

VECTOR_CELLS = [cell for cell in CELLS if cell.policy in ("PopSANPolicy", "SpikingMlpPolicy")]


def by_sb3(policy, observations, **kwargs):
    """Predict on SB3's way alone."""
    with mock.patch.object(common, "decide", return_value=None):
        return policy.predict(observations, deterministic=True, **kwargs)[0]


def directly(policy, observations):
    """Decide on the direct way, which must not stand aside."""
    actions = deciding.decide(policy, observations)
    assert actions is not None
    return actions


def assert_same(actions, expected):
    assert type(actions) is type(expected) is np.ndarray
    assert (actions.dtype, actions.shape) == (expected.dtype, expected.shape)
    assert actions.flags.writeable
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)


def gathered(cell_or_model):
    """Return a policy that has seen a training batch, and so has statistics of its own."""
    model = cell_or_model.model() if hasattr(cell_or_model, "model") else cell_or_model
    policy = model.policy
    policy.set_training_mode(True)
    batch = th.as_tensor(np.random.default_rng(3).normal(5.0, 2.0, (64, *policy.observation_space.shape)))
    policy._actor_and_extractor()[1](batch.float())
    return policy


@pytest.mark.parametrize("cell", VECTOR_CELLS, ids=str)
def test_all_the_algorithms_act_as_on_sb3s_way(cell):
    policy = gathered(cell)
    observations = cell.observations(40)
    observations[3] *= 1e6  # clipped
    for given in (
        observations,
        observations[0],
        observations[:1],
        observations.astype(np.float64),
        observations[::3],
        np.asfortranarray(observations),
        np.round(observations).astype(np.int64),
        observations[:, ::-1],
    ):
        before = given.copy()
        assert_same(directly(policy, given), by_sb3(policy, given))
        np.testing.assert_array_equal(given, before)
    observations.setflags(write=False)
    assert_same(directly(policy, observations), by_sb3(policy, observations))
    assert not any(module.training for module in policy.modules())


@pytest.mark.parametrize("cell", VECTOR_CELLS, ids=str)
def test_statistics_and_modes_are_those_of_sb3s_way(cell):
    policies = [gathered(cell) for _ in range(2)]
    observations = cell.observations()
    directly(policies[0], observations)
    by_sb3(policies[1], observations)
    for name, tensor in policies[1].state_dict().items():
        th.testing.assert_close(policies[0].state_dict()[name], tensor, rtol=0.0, atol=0.0)
    modes = [{name: module.training for name, module in policy.named_modules()} for policy in policies]
    assert modes[0] == modes[1]


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        spaces.Box(-2.0, np.array([1.0, 3.0]), dtype=np.float64),
        spaces.Box(-1.0, 1.0, (2, 3)),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(4),
    ],
    ids=str,
)
def test_every_action_space_of_ppo(space):
    policy = PPO("SpikingMlpPolicy", AnyEnv(VECTOR, space, far), seed=3).policy
    th.nn.init.normal_(policy.action_net.decoder.weight, std=3.0)  # beyond the bounds
    observations = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    for given in (observations, observations[5]):
        assert_same(directly(policy, given), by_sb3(policy, given))


@pytest.mark.parametrize("squash", [False, True])
def test_noise_that_depends_on_the_state(squash):
    kwargs = {"squash_output": True} if squash else {}
    policy = PPO("PopSANPolicy", AnyEnv(VECTOR, BOX, far), use_sde=True, policy_kwargs=kwargs).policy
    observations = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    assert_same(directly(policy, observations), by_sb3(policy, observations))


def test_observations_of_several_axes_and_of_integers():
    for space in (spaces.Box(-1.0, 1.0, (2, 3)), spaces.Box(-9, 9, (3,), np.int64)):
        policy = TD3("SpikingMlpPolicy", AnyEnv(space, BOX), policy_kwargs={"net_arch": [16]}).policy
        observations = np.stack([space.sample() for _ in range(9)])
        for given in (observations, observations[0]):
            assert_same(directly(policy, given), by_sb3(policy, given))


def test_common_mode_correction_is_left_out():
    kwargs = {"net_arch": [16], "common_mode_correction": True}
    policy = DQN("SpikingMlpPolicy", AnyEnv(*CARTPOLE), policy_kwargs=kwargs).policy
    observations = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    assert_same(directly(policy, observations), by_sb3(policy, observations))


@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_random_actions_are_drawn_as_by_sb3(algorithm):
    policy = algorithm("PopSANPolicy", AnyEnv(VECTOR, BOX, far), policy_kwargs={"net_arch": [16]}).policy
    observation = np.ones(3, np.float32)
    th.manual_seed(0)
    actions = policy.predict(observation)[0]
    th.manual_seed(0)
    np.testing.assert_array_equal(actions, BasePolicy.predict(policy, observation)[0])
    state = th.get_rng_state()
    policy.predict(observation, deterministic=True)
    assert th.equal(th.get_rng_state(), state)


def td3(**kwargs):
    return TD3("PopSANPolicy", AnyEnv(VECTOR, BOX, far), policy_kwargs={"net_arch": [16]}, seed=0, **kwargs).policy


BAD = {
    "nan": np.array([1.0, np.nan, 0.0], np.float32),
    "nan in a batch": np.array([[1.0, 2.0, 0.0], [1.0, np.nan, 0.0]]),
    "shape": np.zeros(4, np.float32),
    "axes": np.zeros((2, 2, 3), np.float32),
    "no numbers": np.zeros((), np.float32),
    "of gymnasium": (np.zeros(3, np.float32), {}),
    "text": np.array(["a", "b", "c"]),
    "objects": np.array([None, None, None]),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("observation", BAD.values(), ids=BAD)
def test_errors_are_those_of_sb3s_way(observation):
    policy = td3()
    results = []
    for way in (lambda given: policy.predict(given)[0], lambda given: by_sb3(policy, given)):
        try:
            results.append(way(observation).shape)
        except Exception as error:
            results.append((type(error), str(error)))
    assert results[0] == results[1]


def test_infinity_and_what_overflows_are_clipped_without_a_warning(recwarn):
    policy = td3()
    observation = np.array([np.inf, -1e300, 1e300])
    assert_same(policy.predict(observation)[0], by_sb3(policy, observation))
    assert not recwarn.list


def test_lists_and_subclasses_of_arrays_are_taken():
    policy = td3()
    expected = by_sb3(policy, np.ones(3, np.float32))
    for observation in ([1.0, 1.0, 1.0], np.ones(3, np.float32).view(np.recarray), np.ones(3, ">f8")):
        if isinstance(observation, np.ndarray) and not observation.dtype.isnative:
            with pytest.raises(ValueError, match="byte"):
                policy.predict(observation)
        else:
            np.testing.assert_allclose(policy.predict(observation)[0], expected, rtol=1e-6)


def test_parameters_and_statistics_of_this_moment_decide():
    policy = td3()
    observation = np.full(3, 0.5, np.float32)
    extractor = policy.actor.features_extractor
    for change in (
        lambda: policy.actor.mu.decoder.weight.data.mul_(-2.0),
        lambda: extractor.running_mean.add_(0.7),
        lambda: extractor.running_var.mul_(0.01),
        lambda: setattr(extractor, "clip", 0.2),
        lambda: setattr(extractor, "running_mean", th.full((3,), -1.0)),
        lambda: setattr(policy.actor, "mu", copy.deepcopy(td3().actor.mu)),
        lambda: policy.fit_normalization(np.random.default_rng(0).normal(3.0, 1.0, (50, 3))),
        lambda: policy.load_state_dict(dict(td3().state_dict())),
    ):
        directly(policy, observation)
        change()
        assert_same(directly(policy, observation), by_sb3(policy, observation))


@pytest.mark.parametrize("where", ["actor", "actor.mu", "actor.features_extractor", "actor.mu.layers.0.neuron"])
def test_hooks_see_every_decision(where):
    policy = td3()
    policy.predict(np.ones(3, np.float32))
    seen = []
    handle = policy.get_submodule(where).register_forward_hook(lambda *_: seen.append(1))
    policy.predict(np.ones(3, np.float32))
    assert seen
    handle.remove()
    directly(policy, np.ones(3, np.float32))


def test_counters_of_torchs_operations_see_every_decision():
    policy = td3()
    directly(policy, np.ones(3, np.float32))
    with FlopCounterMode(display=False) as counter:
        policy.predict(np.ones(3, np.float32))
    assert counter.get_total_flops() > 0


class Doubled(PopSANPolicy):
    """Has a step of its own."""

    def _predict(self, observation, deterministic=False):
        return 0.0 * super()._predict(observation, deterministic)


def test_methods_of_subclasses_instances_and_patches_are_called():
    own = TD3(Doubled, AnyEnv(VECTOR, BOX, far), policy_kwargs={"net_arch": [16]}).policy
    middle = own.unscale_action(np.zeros(2, np.float32))
    observation = np.ones(3, np.float32)
    np.testing.assert_allclose(own.predict(observation)[0], middle)
    policy = td3()
    directly(policy, observation)
    policy._predict = lambda observation, deterministic: th.zeros(1, 2)
    np.testing.assert_allclose(policy.predict(observation)[0], middle)
    del policy._predict
    directly(policy, observation)
    with mock.patch.object(type(policy), "_predict", return_value=th.zeros(1, 2)):
        np.testing.assert_allclose(policy.predict(observation)[0], middle)
    policy.actor.mu.forward = lambda features: th.zeros(len(features), 2)
    np.testing.assert_allclose(policy.predict(observation)[0], middle)
    del policy.actor.mu.forward
    policy.actor.features_extractor.forward = lambda observations: functional.hardtanh(10.0 * observations)
    assert_same(policy.predict(observation)[0], by_sb3(policy, observation))


def test_pruned_and_double_policies_take_sb3s_way():
    policy = td3()
    observation = np.ones(3, np.float32)
    directly(policy, observation)
    prune.l1_unstructured(policy.actor.mu.layers[0].synapses, "weight", 0.5)
    assert deciding.decide(policy, observation) is None
    assert_same(policy.predict(observation)[0], by_sb3(policy, observation))


def test_copies_decide_for_themselves():
    policy = td3()
    observation = np.ones(3, np.float32)
    expected = directly(policy, observation)
    other = copy.deepcopy(policy)
    other.actor.mu.decoder.weight.data.zero_()
    assert not np.allclose(directly(other, observation), expected)
    np.testing.assert_array_equal(directly(policy, observation), expected)


def test_a_distribution_of_training_is_replaced_so_that_a_policy_can_be_copied():
    model = PPO("PopSANPolicy", AnyEnv(VECTOR, BOX, far), n_steps=16, batch_size=16, policy_kwargs={"net_arch": [16]})
    model.learn(16)
    model.predict(np.ones(3, np.float32), deterministic=True)
    copy.deepcopy(model.policy)


@pytest.mark.skipif(not CONTRIB, reason="needs sb3-contrib")
def test_masked_actions_are_never_taken():
    cell = next(cell for cell in VECTOR_CELLS if cell.name == "MaskablePPO")
    model = cell.model()
    observations = cell.observations()
    preferred = directly(model.policy, observations)
    masks = np.arange(3) != preferred[:, None]
    for taken in (
        model.predict(observations, deterministic=True, action_masks=masks)[0],
        model.policy.predict(observations, None, None, True, masks)[0],
    ):
        assert not np.any(taken == preferred)
