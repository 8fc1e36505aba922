import math
from types import MappingProxyType, ModuleType

import pytest
from stable_baselines3 import DDPG, PPO, TD3
from torch import nn

import sb3_spiking
from sb3_spiking.policies.td3 import PopSANPolicy
from tests.conftest import small_model


def fresh_algorithm(base=TD3, **aliases):
    """Return an algorithm with policy aliases of its own, as other projects define them."""
    return type("TheirAlgo", (base,), {"policy_aliases": {**base.policy_aliases, **aliases}})


def test_import_registers_with_td3_and_ddpg():
    assert TD3.policy_aliases["PopSANPolicy"] is PopSANPolicy
    assert DDPG.policy_aliases["PopSANPolicy"] is PopSANPolicy


def test_registering_twice_changes_nothing():
    before = dict(TD3.policy_aliases)
    sb3_spiking.register(TD3, DDPG)
    assert TD3.policy_aliases == before


def test_their_algorithm_is_reached_by_its_family(env):
    their_algo = fresh_algorithm()
    del their_algo.policy_aliases["PopSANPolicy"]
    sb3_spiking.register(their_algo)
    small_model(env, their_algo).learn(30)


def test_a_foreign_class_is_not_overwritten():
    class Foreign(PopSANPolicy):
        pass

    their_algo = fresh_algorithm(PopSANPolicy=Foreign)
    with pytest.raises(ValueError, match="another policy named 'PopSANPolicy'"):
        sb3_spiking.register(their_algo)
    assert their_algo.policy_aliases["PopSANPolicy"] is Foreign


def test_an_algorithm_without_a_spiking_policy_is_told_so():
    ars = pytest.importorskip("sb3_contrib").ARS
    with pytest.raises(ValueError, match="no spiking policy for ARS; there are some for TD3, DDPG, SAC"):
        sb3_spiking.register(ars)


class Own(PopSANPolicy):
    """A policy of another package."""


def test_policies_of_ones_own_are_registered_by_name():
    their_algo = fresh_algorithm()
    sb3_spiking.register(their_algo, policies={"OwnPolicy": Own})
    sb3_spiking.register(their_algo, policies={"OwnPolicy": Own})
    assert their_algo.policy_aliases == {**TD3.policy_aliases, "OwnPolicy": Own}


def test_a_subclass_may_replace_the_names_that_it_inherits_and_its_base_keeps_them():
    class Theirs(TD3):
        pass

    sb3_spiking.register(Theirs, policies={"PopSANPolicy": Own})
    assert Theirs.policy_aliases == {**TD3.policy_aliases, "PopSANPolicy": Own}
    assert TD3.policy_aliases["PopSANPolicy"] is PopSANPolicy


def test_a_module_brings_the_classes_that_are_named_as_ours():
    module = ModuleType("their_policies")
    module.PopSANPolicy, module.Helper = Own, object
    their_algo = fresh_algorithm()
    their_algo.policy_aliases = {"MlpPolicy": TD3.policy_aliases["MlpPolicy"]}
    sb3_spiking.register(their_algo, policies=module)
    assert their_algo.policy_aliases.keys() == {"MlpPolicy", "PopSANPolicy"}


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (Own, "must be a module, or a dict of names and policy classes"),
        ({}, "must be a module, or a dict of names and policy classes"),
        (math, "policies=math has none of PopSANPolicy, SpikingMlpPolicy"),
        ({1: Own}, "policies has the name 1; a name is a string"),
        ({"": Own}, "policies has the name ''"),
        ({"Own": nn.Linear}, r"policies\['Own'\]=.*Linear.* must be a class derived from SB3's BasePolicy"),
        ({"Own": "PopSANPolicy"}, r"policies\['Own'\]='PopSANPolicy' must be a class"),
        ({"Own": Own, "MlpPolicy": Own}, "another policy named 'MlpPolicy' already.*del TheirAlgo.policy_aliases"),
    ],
)
def test_what_is_no_policy_is_named_and_nothing_is_registered(policies, message):
    first, their_algo = fresh_algorithm(), fresh_algorithm()
    del first.policy_aliases["MlpPolicy"]
    before = dict(their_algo.policy_aliases)
    with pytest.raises(ValueError, match=message):
        sb3_spiking.register(first, their_algo, policies=policies)
    assert their_algo.policy_aliases == before
    assert "Own" not in first.policy_aliases


def test_what_is_no_algorithm_is_named():
    with pytest.raises(ValueError, match="takes classes of algorithms, not 'TD3'"):
        sb3_spiking.register("TD3")
    with pytest.raises(ValueError, match="needs the algorithm that they are for"):
        sb3_spiking.register(policies={"Own": Own})


def test_a_class_of_another_family_is_refused_before_anything_is_registered():
    first, second = fresh_algorithm(), fresh_algorithm(PPO)
    with pytest.raises(
        ValueError, match=r"policies\['Own'\]=.* is a policy of TD3 and DDPG; .* from ActorCriticPolicy"
    ):
        sb3_spiking.register(first, second, policies={"Own": Own})
    assert "Own" not in first.policy_aliases
    assert "Own" not in second.policy_aliases


@pytest.mark.parametrize("aliases", [None, MappingProxyType(dict(TD3.policy_aliases))], ids=["none", "read-only"])
@pytest.mark.parametrize("policies", [None, {"Own": Own}], ids=["ours", "own"])
def test_aliases_that_cannot_be_written_are_named_and_the_algorithms_before_are_unchanged(aliases, policies):
    first, second = fresh_algorithm(), type("TheirAlgo", (TD3,), {"policy_aliases": aliases})
    del first.policy_aliases["PopSANPolicy"]
    before = dict(first.policy_aliases)
    with pytest.raises(ValueError, match=r"TheirAlgo\.policy_aliases=.* must be a dict"):
        sb3_spiking.register(first, second, policies=policies)
    assert first.policy_aliases == before
