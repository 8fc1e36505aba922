"""What must hold for every algorithm with every policy."""

import copy
import json
import pickle
import subprocess
import sys
import zipfile

import cloudpickle
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from sb3_spiking.policies import RunningNormExtractor
from sb3_spiking.policies.common import SpikingPolicy
from tests.conftest import Logged, spiking_modules
from tests.envs import AnyEnv
from tests.policies.cells import CELLS, CONTRIB, DICT, IMAGE, OBSERVATIONS, ON_POLICY, VALUE, VECTOR, Cell


def each_of(cells):
    """Run a test with each of some cells; tests of a cell follow each other and share its agent."""
    return pytest.mark.parametrize("cell", cells, ids=str, scope="module")


every_cell = each_of(CELLS)


@pytest.fixture(scope="module")
def trained_once(cell):
    return cell.model().learn(48)


@pytest.fixture
def trained(trained_once):
    """Return the cell's agent after gradient steps, and check that the test leaves its parameters as they are."""
    policy = trained_once.policy
    training, before = policy.training, copy.deepcopy(list(policy.parameters()))
    yield trained_once
    policy.set_training_mode(training)  # which predict changes
    assert all(map(th.equal, policy.parameters(), before))


def critics(policy):
    """Return every network that must not spike."""
    names = ("critic", "critic_target", "value_net", "mlp_extractor", "vf_features_extractor")
    return [getattr(policy, name) for name in names if hasattr(policy, name)]


@every_cell
def test_training_changes_every_part_of_the_spiking_network(cell, trained):
    untrained = cell.model()
    before, after = untrained.policy.state_dict(), trained.policy.state_dict()
    assert all(th.isfinite(value).all() for value in after.values())
    spiking = {id(p) for p in trained.policy.spiking_network.parameters()}
    names = [name for name, p in trained.policy.named_parameters() if id(p) in spiking]
    assert names
    unchanged = [name for name in names if th.equal(before[name], after[name])]
    assert not unchanged


@every_cell
def test_same_observation_same_action_in_any_batch(cell, trained):
    batch = cell.observations(96)  # more than the 64 rows that are decided without modules

    def act(n):
        observations = {k: v[:n] for k, v in batch.items()} if isinstance(batch, dict) else batch[:n]
        return trained.predict(observations, deterministic=True)[0]

    np.testing.assert_array_equal(act(96), act(96))
    for n in (1, 7):
        np.testing.assert_allclose(act(n), act(96)[:n], atol=1e-5)


@every_cell
def test_no_state_is_left_and_copies_act_alike(cell, trained):
    memories = [m for module in spiking_modules(trained.policy) for m in module.memories()]
    assert memories
    assert all(isinstance(memory, float) for memory in memories)
    batch = cell.observations()
    expected, _ = trained.predict(batch, deterministic=True)
    for copied in (
        copy.deepcopy(trained.policy),
        pickle.loads(pickle.dumps(trained.policy)),
        cloudpickle.loads(cloudpickle.dumps(trained.policy)),
    ):
        np.testing.assert_array_equal(copied.predict(batch, deterministic=True)[0], expected)


@every_cell
def test_critics_do_not_spike(cell, trained):
    assert spiking_modules(trained.policy.spiking_network)
    for critic in critics(trained.policy):
        assert not spiking_modules(critic)
    if cell.name not in VALUE:
        assert critics(trained.policy)


@every_cell
def test_policy_saves_and_loads_with_every_argument(cell, tmp_path):
    model = cell.model(policy_kwargs={"time_steps": 3, "neuron": "plif", "surrogate": "atan"}).learn(32)
    model.policy.save(tmp_path / "policy.pt")
    loaded = type(model.policy).load(tmp_path / "policy.pt")
    batch = cell.observations()
    expected, _ = model.predict(batch, deterministic=True)
    np.testing.assert_array_equal(loaded.predict(batch, deterministic=True)[0], expected)
    assert loaded._get_constructor_parameters().keys() == model.policy._get_constructor_parameters().keys()
    assert loaded.network_spec == model.policy.network_spec
    assert loaded.extractors == model.policy.extractors


@every_cell
def test_several_environments_and_evaluation(cell):
    model = cell.model(make_vec_env(cell.env, n_envs=2))
    model.learn(64)
    mean, _ = evaluate_policy(model, Monitor(cell.env()), n_eval_episodes=2)
    assert np.isfinite(mean)


@every_cell
def test_is_monitored(cell):
    model = cell.model(make_vec_env(cell.env, n_envs=2))
    callback = Logged(log_freq=8)
    model.learn(48, callback=callback)
    rates = [value for key, value in callback.values.items() if key.endswith("_rate")]
    assert len(rates) >= 2
    assert all(0 < rate < 1 for rate in rates)
    assert all(len(key) <= 33 for key in callback.values)


def test_fresh_process_loads_every_zip_without_importing_the_plugin(tmp_path):
    lines = []
    for cell in CELLS:
        model = cell.model()
        if cell.policy == "PopSANPolicy":  # training changes what the file holds of the algorithm, not of the policy
            model.learn(24)
        model.save(tmp_path / str(cell))
        batch = cell.observations()
        arrays = batch if isinstance(batch, dict) else {"": batch}
        expected, _ = model.predict(batch, deterministic=True)
        np.savez(tmp_path / f"{cell}.npz", expected=expected, **{f"obs{name}": value for name, value in arrays.items()})
        lines.append(f"{cell.algorithm.__module__} {cell.name} {cell}")
    script = f"""
import importlib, sys
import numpy as np
assert "sb3_spiking" not in sys.modules
for line in {lines!r}:
    module, algorithm, cell = line.split()
    model = getattr(importlib.import_module(module), algorithm).load(rf"{tmp_path}/{{cell}}.zip", device="cpu")
    data = dict(np.load(rf"{tmp_path}/{{cell}}.npz"))
    expected = data.pop("expected")
    batch = data["obs"] if "obs" in data else {{name[3:]: value for name, value in data.items()}}
    np.testing.assert_array_equal(model.predict(batch, deterministic=True)[0], expected, err_msg=cell)
print(len({lines!r}))
"""
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert result.stdout.split() == [str(len(CELLS))]


@every_cell
def test_policy_kwargs_are_plain_json_in_the_zip(cell, tmp_path):
    policy_kwargs = {
        "net_arch": [8],
        "time_steps": 3,
        "neuron": "lif",
        "neuron_kwargs": {"reset": "soft"},
        "surrogate": "triangle",
        "surrogate_kwargs": {"width": 0.7},
        "decoder": "last",
        "decoder_kwargs": {"membrane_decay": 0.9},
        "membrane_norm": "layer",
    }
    if cell.observation_space is not VECTOR:
        policy_kwargs["conv_arch"] = [[4, 3, 2]]
    if cell.policy == "PopSANPolicy":
        ranges = [[-2, 2], [-3, 3], [0, 1]]
        policy_kwargs |= {"encoder": "analog", "encoder_std": [0.3, 0.4, 0.5], "mean_range": ranges}
    if cell.name not in VALUE:
        policy_kwargs["actor_lr_scale"] = 0.5
        policy_kwargs["net_arch"] = {"pi": [8], "vf" if cell.name in ON_POLICY else "qf": [16, 16]}
    model = cell.model(policy_kwargs=policy_kwargs)
    model.save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        saved = json.loads(archive.read("data"))["policy_kwargs"]
    # Some algorithms add arguments of their own; A2C's optimiser class makes SB3 pickle the whole beside the JSON.
    assert policy_kwargs.items() <= saved.items()
    loaded = cell.algorithm.load(tmp_path / "model", device="cpu")
    assert loaded.policy.spiking_network.layers[0].synapses.out_features == 8
    batch = cell.observations()
    expected, _ = model.predict(batch, deterministic=True)
    np.testing.assert_array_equal(loaded.predict(batch, deterministic=True)[0], expected)


@each_of([cell for cell in CELLS if cell.observation_space is not IMAGE])
def test_vectors_are_normalised_by_every_algorithm(cell, trained):
    extractors = [m for m in trained.policy.modules() if isinstance(m, RunningNormExtractor)]
    assert extractors
    features = trained.policy.spiking_features(trained.policy.obs_to_tensor(cell.observations(200))[0])
    vectors = [part for part in trained.policy.extractors.parts if not part.is_image]
    sizes = [part.size for part in trained.policy.extractors.parts]
    pieces = dict(zip([part.name for part in trained.policy.extractors.parts], features.split(sizes, 1), strict=True))
    joints = pieces[vectors[0].name]
    # Raw observations have a mean of 5 and a deviation of 2.
    assert joints.mean().abs() < 0.7
    assert 0.4 < joints.std() < 2.0


@each_of([cell for cell in CELLS if cell.observation_space is IMAGE])
def test_images_are_scaled_exactly_once(cell, trained):
    white = np.full((1, *IMAGE.shape), 255, np.uint8)
    features = trained.policy.spiking_features(trained.policy.obs_to_tensor(white)[0])
    assert th.equal(features, th.ones(1, features.shape[1]))


@each_of([cell for cell in CELLS if cell.observation_space in (IMAGE, DICT) and cell.name not in VALUE])
def test_the_critic_has_an_image_torso_of_its_own(cell, trained):
    policy = trained.policy
    critic = policy.vf_features_extractor if cell.name in ON_POLICY else policy.critic.features_extractor
    actor = policy.pi_features_extractor if cell.name in ON_POLICY else policy.actor.features_extractor
    assert critic is not actor
    assert any(isinstance(module, th.nn.Conv2d) for module in critic.modules())
    assert not list(actor.parameters())
    with pytest.raises(ValueError, match="share_features_extractor=True is not possible with images"):
        cell.model(policy_kwargs={"share_features_extractor": True})


@pytest.mark.parametrize("policy", OBSERVATIONS)
@pytest.mark.parametrize(
    ("space", "outputs"),
    [(spaces.Discrete(3), 3), (spaces.MultiDiscrete([3, 2]), 5), (spaces.MultiBinary(4), 4)],
    ids=str,
)
def test_ppo_takes_every_action_space(policy, space, outputs):
    cell = Cell(PPO, policy)
    model = cell.model(cell.env(space)).learn(32)
    assert model.policy.spiking_network.decoder.out_dim == outputs


GSDE = [cell for cell in CELLS if cell.name in ("SAC", "TQC", "CrossQ", "PPO", "A2C")]


@each_of([cell for cell in GSDE if cell.observation_space is not VECTOR])
def test_gsde_on_pixels_is_refused(cell):
    with pytest.raises(ValueError, match="use_sde=True needs vector observations"):
        cell.model(use_sde=True)


@each_of([cell for cell in GSDE if cell.observation_space is VECTOR])
def test_gsde_explores_with_the_observation(cell):
    model = cell.model(use_sde=True).learn(48)
    batch = cell.observations(2)
    first, again = (model.predict(batch, deterministic=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    model.policy.reset_noise(2)
    noisy = model.predict(batch)[0]
    model.policy.reset_noise(2)
    assert not np.array_equal(noisy, model.predict(batch)[0])


@pytest.mark.skipif(not CONTRIB, reason="sb3-contrib is not installed")
@pytest.mark.parametrize("policy", OBSERVATIONS)
def test_masks_are_respected(policy):
    from sb3_contrib import MaskablePPO

    cell = Cell(MaskablePPO, policy)
    model = cell.model().learn(32)
    masks = np.tile([False, True, False], (16, 1))
    actions, _ = model.predict(cell.observations(), action_masks=masks)
    assert (actions == 1).all()
    assert (model.rollout_buffer.actions != 1).all()


@pytest.mark.skipif(not CONTRIB, reason="sb3-contrib is not installed")
def test_crossq_says_why_it_takes_no_dict():
    from sb3_contrib import CrossQ

    with pytest.raises(ValueError, match=r"CrossQ cannot take Dict observations.*TQC or SAC.*FlattenObservation"):
        Cell(CrossQ, "SpikingMultiInputPolicy").model()


WRONG = [
    ("PopSANPolicy", IMAGE, "use SpikingCnnPolicy"),
    ("PopSANPolicy", DICT, "FlattenObservation.*use SpikingMultiInputPolicy"),
    ("PopSANPolicy", spaces.Discrete(3), "Discrete observations.*FlattenObservation.*use SpikingMlpPolicy"),
    ("PopSANPolicy", spaces.MultiBinary(4), "MultiBinary observations.*use SpikingMlpPolicy"),
    ("SpikingMlpPolicy", IMAGE, "use SpikingCnnPolicy"),
    ("SpikingMlpPolicy", DICT, "use SpikingMultiInputPolicy"),
    ("SpikingCnnPolicy", spaces.Box(-1, 1, (3,)), "use PopSANPolicy or SpikingMlpPolicy"),
    ("SpikingCnnPolicy", DICT, "use SpikingMultiInputPolicy"),
    ("SpikingCnnPolicy", spaces.Box(0, 1, (10, 10, 4), bool), "make_minatar_env"),
    ("SpikingMultiInputPolicy", IMAGE, "use SpikingCnnPolicy"),
]


@pytest.mark.parametrize("algorithm", [TD3, SAC, PPO])
@pytest.mark.parametrize(("policy", "space", "message"), WRONG)
def test_the_wrong_observations_are_told_the_right_policy(algorithm, policy, space, message):
    with pytest.raises(ValueError, match=message):
        Cell(algorithm, policy).model(AnyEnv(space, Cell(algorithm, policy).env().action_space))


@pytest.mark.parametrize(
    ("policy", "policy_kwargs", "message"),
    [
        ("SpikingCnnPolicy", {"encoder": "poisson", "mean_range": (0, 1)}, "encoder, mean_range would have no effect"),
        ("PopSANPolicy", {"conv_arch": "small"}, "conv_arch would have no effect"),
    ],
)
def test_arguments_without_effect_are_refused(policy, policy_kwargs, message):
    with pytest.raises(ValueError, match=message):
        Cell(SAC, policy).model(policy_kwargs=policy_kwargs)


def test_there_is_no_critic_to_share_with():
    with pytest.raises(ValueError, match="share_features_extractor=True: there is no critic"):
        Cell(DQN, "PopSANPolicy").model(policy_kwargs={"share_features_extractor": True})


def test_default_architectures_behind_images():
    def sizes(algorithm):
        cell = Cell(algorithm, "SpikingCnnPolicy")
        policy = algorithm("SpikingCnnPolicy", cell.env(), device="cpu").policy
        return [layer.synapses.out_features for layer in policy.spiking_network.layers], policy.net_arch

    assert sizes(PPO) == ([128], {"pi": [128], "vf": []})
    assert sizes(SAC) == ([128], {"pi": [128], "qf": [256, 256]})
    assert sizes(DQN) == ([128], [128])


def test_discrete_observations_are_one_hot_currents():
    cell = Cell(PPO, "SpikingMlpPolicy")
    model = cell.model(AnyEnv(spaces.Discrete(3), spaces.Discrete(2))).learn(32)
    features = model.policy.spiking_features(th.tensor([2]))
    assert features.tolist() == [[0.0, 0.0, 1.0]]


def test_images_that_are_scaled_already():
    space = spaces.Box(0.0, 1.0, (3, 12, 12), np.float32)

    class ScaledEnv(AnyEnv):
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            return self.observation_space.sample(), *super().step(action)[1:]

    model = Cell(PPO, "SpikingCnnPolicy").model(
        ScaledEnv(space, spaces.Discrete(2)), policy_kwargs={"normalize_images": False}
    )
    model.learn(32)
    features = model.policy.spiking_features(th.full((1, *space.shape), 0.5))
    assert (features == 0.5).all()
    assert isinstance(model.policy, SpikingPolicy)


@pytest.mark.parametrize("algorithm", [TD3, SAC])
def test_hindsight_replay_with_goals(algorithm):
    env = BitFlippingEnv(n_bits=4, continuous=True, max_steps=4)
    model = algorithm(
        "SpikingMultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        learning_starts=12,
        batch_size=8,
        buffer_size=200,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [16]},
    )
    callback = Logged(log_freq=5)
    model.learn(40, callback=callback)
    assert 0 < callback.values["spikes/hidden0_rate"] < 1
