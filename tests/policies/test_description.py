"""The description of a policy, from observation to action: what an exporter reads is what ``predict`` does."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO

from sb3_spiking.snn.description import record
from tests.envs import AnyEnv, far
from tests.policies.cells import BOX, CELLS, ON_POLICY, VECTOR


def decided(policy, observations):
    """Decide by the parts of the description alone."""
    description = policy.describe()
    policy.set_training_mode(False)
    with th.no_grad():
        preprocessed = policy.obs_to_tensor(observations)[0]
        features = policy.spiking_features(preprocessed)
        return description.action_map(policy.spiking_network(features)).numpy()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_action_map_ends_where_predict_does(cell):
    model = cell.model(cell.env())
    observations = cell.observations()
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(decided(model.policy, observations), actions, rtol=1e-4, atol=1e-5)


SPACES = {
    "box": BOX,
    "discrete": spaces.Discrete(3),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(4),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("policy", ["PopSANPolicy", "SpikingMlpPolicy"])
def test_every_action_space_of_ppo(space, policy):
    model = PPO(policy, AnyEnv(VECTOR, space, far), seed=3)
    observations = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(decided(model.policy, observations), actions, rtol=1e-4, atol=1e-5)


def test_squashed_noise_that_depends_on_the_state():
    model = PPO("SpikingMlpPolicy", AnyEnv(VECTOR, BOX, far), use_sde=True, policy_kwargs={"squash_output": True})
    observations = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(decided(model.policy, observations), actions, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.name in ON_POLICY][:4], ids=str)
def test_the_stages_name_every_population_in_order(cell):
    policy = cell.model(cell.env()).policy
    description = policy.describe()
    recording = record(description, policy.spiking_features(policy.obs_to_tensor(cell.observations())[0]))
    fired = [population.name for population in recording.populations if not population.is_encoder]
    assert fired == [stage.name for stage in description.hidden]
    assert [synapses.name for synapses in recording.synapses] == [stage.name for stage in description.stages]
    known = {source.name for source in description.sources}
    for stage in description.stages:
        assert set(stage.inputs) <= known
        known.add(stage.name)
