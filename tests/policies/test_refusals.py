"""Mistakes that are told before anything is made, with the way out."""

import json
import zipfile

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from spikingjelly.activation_based.neuron import LIFNode
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage

import sb3_spiking
from sb3_spiking.policies import on_policy
from sb3_spiking.policies.families import ALGORITHMS_OF, family_of
from sb3_spiking.policies.images import check_channels_first
from sb3_spiking.policies.keywords import allowed_keywords
from sb3_spiking.policies.presets import NAMES
from tests.envs import AnyEnv
from tests.policies.cells import ALGORITHMS, BOX, CELLS, CONTRIB, VALUE, VECTOR, Cell


def env_of(algorithm):
    return Cell(algorithm, "PopSANPolicy").env()


CLASSES = {algorithm: algorithm.policy_aliases["PopSANPolicy"] for algorithm in ALGORITHMS}
PAIRS = [
    (algorithm, policy)
    for algorithm, own in CLASSES.items()
    for policy in dict.fromkeys(CLASSES.values())
    if policy is not own
]


@pytest.mark.parametrize(("algorithm", "policy"), PAIRS)
def test_the_class_of_another_family_is_told_to_be_passed_by_name(algorithm, policy):
    message = rf"{policy.__module__}.PopSANPolicy is the PopSANPolicy of .*, not of {algorithm.__name__}; pass the name"
    with pytest.raises(TypeError, match=message):
        algorithm(policy, env_of(algorithm), device="cpu")


def test_every_registered_policy_has_a_family_with_a_name():
    assert {family_of(policy).__name__ for policy in CLASSES.values()} <= ALGORITHMS_OF.keys()


@pytest.mark.skipif(not CONTRIB, reason="sb3-contrib is not installed")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("algorithm", ["RecurrentPPO", "ARS"])
def test_algorithms_without_a_spiking_policy_say_why(algorithm, name):
    import sb3_contrib

    cls = getattr(sb3_contrib, algorithm)
    for policy in (name, getattr(sb3_spiking.policies.td3, name)):
        with pytest.raises((ValueError, TypeError), match=rf"there is no {name} for {algorithm}: .* Use PPO"):
            cls(policy, AnyEnv(VECTOR, BOX), device="cpu")


@pytest.mark.skipif(not CONTRIB, reason="sb3-contrib is not installed")
def test_a_policy_may_take_the_place_of_the_reason_why_there_is_none():
    from sb3_contrib import RecurrentPPO

    aliases = {**RecurrentPPO.policy_aliases, "MlpPolicy": PPO.policy_aliases["MlpPolicy"]}
    theirs = type("Theirs", (RecurrentPPO,), {"policy_aliases": aliases})
    sb3_spiking.register(theirs)
    assert theirs.policy_aliases["PopSANPolicy"] is PPO.policy_aliases["PopSANPolicy"]
    with pytest.raises(ValueError, match="no spiking policy for RecurrentPPO"):
        sb3_spiking.register(RecurrentPPO)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_the_allowed_names_are_those_of_the_policy_and_of_sb3s(cell):
    allowed = allowed_keywords(cell.algorithm.policy_aliases[cell.policy])
    assert {"time_steps", "normalize_observations", "net_arch", "optimizer_class", "normalize_images"} <= set(allowed)
    assert ("actor_lr_scale" in allowed) == (cell.name not in VALUE)
    assert not {"self", "observation_space", "lr_schedule", "kwargs", "args"} & set(allowed)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("timesteps", "did you mean 'time_steps'?"),
        ("normalise_observations", "did you mean 'normalize_observations'?"),
        ("spike_ts", "did you mean 'time_steps'?"),
        ("hidden_sizes", "did you mean 'net_arch'?"),
        ("threshold", "neuron_kwargs=dict(threshold=...)"),
        ("v_threshold", "neuron_kwargs=dict(threshold=...)"),
        ("surrogate_width", "surrogate_kwargs=dict(width=...)"),
        ("learning_rate", "an argument of SAC itself: SAC(..., learning_rate=...)"),
        ("tau", "an argument of SAC itself: SAC(..., tau=...)"),
        ("nonsense", "PopSANPolicy takes: activation_fn, actor_lr_scale"),
    ],
)
def test_unknown_names_are_told_what_is_meant(name, meant):
    with pytest.raises(TypeError, match=f"policy_kwargs has no '{name}'") as caught:
        Cell(SAC, "PopSANPolicy").model(policy_kwargs={name: 1})
    assert meant in str(caught.value)


def test_a_dict_that_sac_wrote_into_is_not_tds():
    shared = {"net_arch": [8]}
    SAC("PopSANPolicy", env_of(SAC), policy_kwargs=shared, device="cpu", buffer_size=10)
    with pytest.raises(TypeError, match=r"'use_sde'.*give each model a dict of its own"):
        TD3("PopSANPolicy", env_of(TD3), policy_kwargs=shared, device="cpu", buffer_size=10)


@pytest.mark.parametrize(
    ("policy_kwargs", "message"),
    [
        ({"neuron": "LIF"}, "did you mean 'lif'?"),
        ({"neuron": "LIFNode"}, "did you mean 'lif'?"),
        ({"neuron": LIFNode}, "did you mean 'lif'?"),
        ({"surrogate": "arctan"}, "did you mean 'atan'?"),
        ({"encoder": "Deterministic"}, "did you mean 'deterministic'?"),
        ({"neuron_kwargs": {"treshold": 0.5}}, "did you mean 'threshold'?"),
        ({"neuron_kwargs": {"v_decay": 0.5}}, "did you mean 'membrane_decay'?"),
        ({"neuron_kwargs": "lif"}, "neuron_kwargs='lif' must be a dict"),
        ({"normalize_observations": "False"}, "normalize_observations='False' must be True or False"),
        ({"intra_connections": "no"}, "intra_connections='no' must be True or False"),
        ({"share_features_extractor": 1}, "share_features_extractor=1 must be True or False"),
        ({"activation_fn": "relu"}, "activation_fn='relu' must be a class"),
        ({"net_arch": [{"pi": [8], "qf": [8]}]}, "net_arch=dict(pi=[64, 64], qf=[64, 64])"),
        ({"net_arch": [8, {"pi": [8], "qf": [8]}]}, "net_arch=dict(pi=[64, 64], qf=[64, 64])"),
    ],
)
def test_misspelt_values_are_told_what_is_meant(policy_kwargs, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared as it is)
        Cell(SAC, "PopSANPolicy").model(policy_kwargs=policy_kwargs)
    assert message in str(caught.value)


def test_lists_with_dicts_for_one_network():
    with pytest.raises(ValueError, match="must be a list of layer sizes: there is one network"):
        Cell(DQN, "PopSANPolicy").model(policy_kwargs={"net_arch": [{"pi": [8], "vf": [8]}]})


@pytest.mark.parametrize(
    ("given", "saved"),
    [
        ({"encoder_std": np.float32(0.5)}, {"encoder_std": 0.5}),
        ({"encoder_std": np.array([0.5, 0.25, 1.0])}, {"encoder_std": [0.5, 0.25, 1.0]}),
        ({"mean_range": np.array([-2.0, 2.0])}, {"mean_range": [-2.0, 2.0]}),
        ({"mean_range": [np.array([-2, 2])] * 3}, {"mean_range": [[-2, 2]] * 3}),
        ({"mean_range": (np.float32(-2), np.float32(2))}, {"mean_range": [-2.0, 2.0]}),
        ({"encoder_std": th.tensor(0.5)}, {"encoder_std": 0.5}),
        (
            {"time_steps": np.int64(4), "neuron_kwargs": {"threshold": np.float32(0.5)}, "net_arch": [np.int32(8)]},
            {"time_steps": 4, "neuron_kwargs": {"threshold": 0.5}, "net_arch": [8]},
        ),
        ({"net_arch": {"pi": np.array([8]), "qf": [np.int64(8)]}}, {"net_arch": {"pi": [8], "qf": [8]}}),
        (
            {"normalize_observations": np.False_, "actor_lr_scale": np.float16(0.5), "n_critics": np.int64(1)},
            {"normalize_observations": False, "actor_lr_scale": 0.5, "n_critics": 1},
        ),
    ],
)
def test_numpy_numbers_are_taken_and_saved_as_plain_json(given, saved, tmp_path):
    cell = Cell(SAC, "PopSANPolicy")
    model = cell.model(policy_kwargs=given)
    model.save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        data = json.loads(archive.read("data"))["policy_kwargs"]
    assert saved.items() <= data.items()
    assert ":type:" not in data
    expected, _ = model.predict(cell.observations(), deterministic=True)
    loaded = SAC.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict(cell.observations(), deterministic=True)[0], expected)


OTHERS = [
    ({"time_steps": 8}, "time_steps=5, .* time_steps=8"),
    ({"neuron": "lif"}, "neuron='cuba_lif', .* neuron='lif'"),
    ({"neuron_kwargs": {"threshold": 0.7}}, "neuron_kwargs.threshold=0.5, .* neuron_kwargs.threshold=0.7"),
    ({"neuron_kwargs": {"reset": "soft"}}, "reset='hard'"),
    ({"encoder": "analog"}, "encoder='deterministic'"),
    ({"decoder": "last"}, "decoder='rate'"),
    ({"mean_range": (-5, 5)}, "clip=3.0, .* clip=5.0"),
]


@pytest.mark.parametrize(("policy_kwargs", "message"), OTHERS)
def test_weights_of_another_network_of_equal_shapes_are_refused_as_a_whole(policy_kwargs, message, tmp_path):
    cell = Cell(PPO, "PopSANPolicy")
    theirs, model = cell.model(seed=1), cell.model(policy_kwargs=policy_kwargs)
    theirs.save(tmp_path / "theirs")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    for parameters in (theirs.get_parameters(), str(tmp_path / "theirs")):
        with pytest.raises(RuntimeError, match=message):
            model.set_parameters(parameters)
    assert all(th.equal(value, before[name]) for name, value in model.policy.state_dict().items())
    with pytest.raises(RuntimeError, match=message):
        PPO.load(tmp_path / "theirs", custom_objects={"policy_kwargs": {"net_arch": [16, 16], **policy_kwargs}})
    # On purpose, without what is written beside the tensors:
    model.policy.load_state_dict(dict(theirs.policy.state_dict()))


@pytest.mark.parametrize("policy_kwargs", [{"surrogate": "atan"}, {"encoder_std": 0.3}, {"precision": "bfloat16"}, {}])
def test_weights_of_the_same_network_are_taken(policy_kwargs, tmp_path):
    cell = Cell(PPO, "PopSANPolicy")
    cell.model(seed=1).save(tmp_path / "theirs")
    cell.model(policy_kwargs=policy_kwargs).set_parameters(str(tmp_path / "theirs"))


def floats(*shape):
    return spaces.Box(0.0, 1.0, shape, np.float32)


class SampledEnv(AnyEnv):
    """Observations of any space."""

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        return self.observation_space.sample(), 0.0, False, self.steps >= 10, {}


def agent(policy, space, algorithm=PPO, env=None, **policy_kwargs):
    cell = Cell(algorithm, policy)
    return cell.model(env or SampledEnv(space, cell.env().action_space), policy_kwargs=policy_kwargs)


@pytest.mark.parametrize("algorithm", [PPO, SAC, DQN])
@pytest.mark.parametrize("shape", [(84, 84, 3), (84, 84, 1), (12, 12, 4), (21, 16, 3)])
def test_float_images_with_channels_last_are_refused(algorithm, shape):
    with pytest.raises(ValueError, match=r"have their channels last .*VecTransposeImage"):
        agent("SpikingCnnPolicy", floats(*shape), algorithm, normalize_images=False)
    mixed = spaces.Dict({"camera": floats(*shape), "joints": VECTOR})
    with pytest.raises(ValueError, match=r"images 'camera' of shape .* have their channels last"):
        agent("SpikingMultiInputPolicy", mixed, algorithm, normalize_images=False)


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 12, 12), (3, 21, 16), (7, 10, 10), (10, 10, 10), (16, 10, 10)])
def test_images_with_channels_first_are_taken_without_a_word(shape, recwarn):
    agent("SpikingCnnPolicy", floats(*shape), normalize_images=False)
    assert not recwarn


@pytest.mark.parametrize("shape", [(10, 10, 7), (10, 10, 16), (16, 12, 8)])
def test_images_that_could_be_either_are_warned_about(shape):
    with pytest.warns(UserWarning, match=rf"taken for {shape[0]} channels of {shape[1]} x {shape[2]} pixels"):
        agent("SpikingCnnPolicy", floats(*shape), normalize_images=False)


@pytest.mark.filterwarnings("ignore:Treating image space as channels-last")
def test_stacked_grids_that_sb3_transposes_are_warned_about_with_the_way_out(recwarn):
    space = spaces.Box(0, 255, (16, 10, 10), np.uint8)
    with pytest.warns(UserWarning, match=r"VecTransposeImage\(env, skip=True\)"):
        agent("SpikingCnnPolicy", space)
    recwarn.clear()
    env = VecTransposeImage(DummyVecEnv([lambda: SampledEnv(space, BOX)]), skip=True)
    assert agent("SpikingCnnPolicy", space, env=env).policy.observation_space.shape == (16, 10, 10)
    assert agent("SpikingCnnPolicy", spaces.Box(0, 255, (12, 12, 3), np.uint8)).observation_space.shape == (3, 12, 12)
    assert not recwarn


@pytest.mark.parametrize("shape", [(12, 12), (4, 12, 12, 3)])
def test_images_of_other_axes_are_told_the_form(shape):
    with pytest.raises(ValueError, match="three axes, channels x height x width"):
        agent("SpikingCnnPolicy", floats(*shape))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict({}), "Dict without entries"),
        (spaces.Dict({"a.b": VECTOR}), "'a.b' of the observation space needs another name"),
        (spaces.Dict({"keys": VECTOR}), "'keys' of the observation space needs another name"),
        (spaces.Dict({"": VECTOR}), "'' of the observation space needs another name"),
        (spaces.Dict({"a": floats()}), "'a' is .*: numbers without an axis"),
        (spaces.Dict({"a": spaces.Discrete(3, start=2)}), "one-hot coding begins at 0, not at 2"),
        (floats(), "numbers without an axis"),
        (floats(0), "holds no numbers"),
        (spaces.Discrete(3, start=-1), "begins at 0, not at -1"),
        (spaces.MultiDiscrete([[2, 3], [2, 2]]), "takes one axis of numbers from 0"),
    ],
)
def test_spaces_at_which_sb3_fails_without_a_reason_are_told_one(space, message):
    with pytest.raises(ValueError, match=message):
        agent("SpikingMultiInputPolicy" if isinstance(space, spaces.Dict) else "SpikingMlpPolicy", space)


@pytest.mark.parametrize("observation", [1.7, np.array([0.5, 1.0]), 3, -1, np.nan])
def test_discrete_observations_are_not_cut_to_integers(observation):
    model = agent("SpikingMlpPolicy", spaces.Discrete(3))
    with pytest.raises(ValueError, match=r"an observation of Discrete\(3\)"):
        model.predict(observation)
    model.predict(2.0)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"a": np.zeros(3)}, r"missing \['d'\]"),
        ({"a": np.zeros(3), "d": 1, "e": 2}, r"unknown \['e'\]"),
        ({"a": np.zeros(3), "d": 1.5}, "is an integer, not 1.5"),
        (np.zeros(3), "must be a dict"),
    ],
)
def test_dict_observations_that_do_not_fit_say_so(observation, message):
    model = agent("SpikingMultiInputPolicy", spaces.Dict({"a": VECTOR, "d": spaces.Discrete(3)}))
    with pytest.raises(ValueError, match=message):
        model.predict(observation)


def test_an_extractor_of_ones_own_takes_entries_of_any_name():
    space = spaces.Dict({"robot0.joints": VECTOR})

    class Own(BaseFeaturesExtractor):
        def __init__(self, observation_space):
            super().__init__(observation_space, 3)

        def forward(self, observations):
            return observations["robot0.joints"]

    own = {"features_extractor_class": Own, "normalize_observations": False}
    agent("SpikingMultiInputPolicy", space, encoder="direct", **own).predict(space.sample())


def test_batches_of_every_space_still_fit():
    space = spaces.Dict({"b": spaces.MultiBinary((2, 2)), "d": spaces.Discrete(3), "m": spaces.MultiDiscrete([2, 3])})
    model = agent("SpikingMultiInputPolicy", space)
    batch = {"b": np.ones((5, 2, 2)), "d": np.full(5, 2), "m": np.tile([1, 2], (5, 1))}
    assert len(model.predict(batch)[0]) == 5
    assert model.predict(space.sample())[0].shape == BOX.shape


class Explicit(on_policy.PopSANPolicy):
    """A policy of a user: it names its arguments, and hands some of its own to ours."""

    def __init__(self, observation_space, action_space, lr_schedule, use_sde=False, centres=None):
        self.centres = centres
        super().__init__(
            observation_space, action_space, lr_schedule, net_arch=[8], ortho_init=False, activation_fn=th.nn.ReLU
        )


def test_a_policy_that_names_its_arguments_may_hand_others_to_ours():
    centres = np.arange(3.0)
    model = PPO(Explicit, "Pendulum-v1", policy_kwargs={"centres": centres}, device="cpu")
    assert model.policy.centres is centres  # what is the user's own stays as it is


@pytest.mark.parametrize("shape", [(26, 5, 4), (8, 5, 3), (6, 4, 3)])
def test_grids_of_many_planes_are_no_pictures_with_their_channels_last(shape):
    space = spaces.Box(0.0, 1.0, shape, np.float32)
    with pytest.warns(UserWarning, match=f"taken for {shape[0]} channels"):
        check_channels_first(space, normalized_image=True)
    with pytest.raises(ValueError, match="channels last"):
        check_channels_first(spaces.Box(0.0, 1.0, (10, 10, 4), np.float32), normalized_image=True)
