import pytest
from stable_baselines3 import DDPG, TD3

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
