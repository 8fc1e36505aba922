"""The exported names of policies: every algorithm takes each of them."""

import json
import pickle

import pytest
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.policies import ActorCriticPolicy

import sb3_spiking
from sb3_spiking.policies import on_policy, td3
from sb3_spiking.policies.presets import NAMES
from tests.policies.cells import CELLS, Cell

EXPORTED = {name: getattr(sb3_spiking, name) for name in NAMES}


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_algorithm_takes_the_exported_name_for_its_own_class(cell):
    model = Cell(cell.algorithm, EXPORTED[cell.policy]).model()
    assert type(model.policy) is cell.algorithm.policy_aliases[cell.policy]
    assert [name for name, exported in EXPORTED.items() if isinstance(model.policy, exported)] == [cell.policy]


def test_a_class_derived_from_one_of_ours_is_an_instance_too():
    class Own(on_policy.PopSANPolicy):
        pass

    cell = Cell(PPO, "PopSANPolicy")
    policy = PPO(Own, cell.env(), device="cpu").policy
    assert isinstance(policy, sb3_spiking.PopSANPolicy)
    assert issubclass(Own, sb3_spiking.PopSANPolicy)
    assert not isinstance(policy, sb3_spiking.SpikingMlpPolicy)
    assert not isinstance("PopSANPolicy", sb3_spiking.PopSANPolicy)
    assert not issubclass(type("PopSANPolicy", (ActorCriticPolicy,), {}), sb3_spiking.PopSANPolicy)  # as documented


def test_what_needs_a_class_is_told_where_the_classes_are():
    where = r"sb3_spiking\.policies\.td3\.PopSANPolicy"
    with pytest.raises(TypeError, match=where):
        sb3_spiking.PopSANPolicy(None, None, None)
    with pytest.raises(TypeError, match=where):
        exec("class Own(sb3_spiking.PopSANPolicy): pass")
    with pytest.raises(AttributeError, match=where):
        sb3_spiking.PopSANPolicy.load("policy.pt")
    for union in (lambda: sb3_spiking.PopSANPolicy | None, lambda: None | sb3_spiking.PopSANPolicy):
        with pytest.raises(TypeError, match=where):
            union()
    with pytest.raises(ImportError):
        exec("from sb3_spiking.policies import PopSANPolicy")
    with pytest.raises(AttributeError, match=where):
        sb3_spiking.policies.PopSANPolicy  # noqa: B018
    assert td3.PopSANPolicy.load


@pytest.mark.parametrize("algorithm", [TD3, PPO])
def test_a_name_among_custom_objects_is_the_algorithms_own_class_also_when_saved_again(tmp_path, algorithm):
    model = Cell(algorithm, "PopSANPolicy").model()
    model.save(tmp_path / "agent.zip")
    loaded = algorithm.load(tmp_path / "agent.zip", custom_objects={"policy_class": sb3_spiking.PopSANPolicy})
    assert type(loaded.policy) is loaded.policy_class is type(model.policy)
    loaded.save(tmp_path / "again.zip")
    assert type(algorithm.load(tmp_path / "again.zip").policy) is type(model.policy)


def test_a_name_is_written_and_copied_as_a_string():
    assert json.dumps({"policy": sb3_spiking.PopSANPolicy}) == '{"policy": "PopSANPolicy"}'
    assert pickle.loads(pickle.dumps(sb3_spiking.PopSANPolicy)) == "PopSANPolicy"
    assert TD3.policy_aliases[sb3_spiking.PopSANPolicy] is td3.PopSANPolicy
