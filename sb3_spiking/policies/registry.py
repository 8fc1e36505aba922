"""Names of policies: the only code that writes to SB3's ``policy_aliases``."""

from collections.abc import Mapping, MutableMapping
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from sb3_spiking.policies import dqn, on_policy, sac, td3
from sb3_spiking.policies.families import ALGORITHMS_OF, family_of
from sb3_spiking.policies.presets import NAMES
from sb3_spiking.policies.unavailable import UnavailablePolicy, unavailable

Policies = Mapping[str, type[BasePolicy]]

FAMILIES: dict[type[BasePolicy], ModuleType] = {
    TD3Policy: td3,
    SACPolicy: sac,
    ActorCriticPolicy: on_policy,
    DQNPolicy: dqn,
}
"""SB3's policy class of a family of algorithms -> module with the spiking policies of the family."""

ALGORITHMS: tuple[type[BaseAlgorithm], ...] = (TD3, DDPG, SAC, PPO, A2C, DQN)
"""Algorithms that ``import sb3_spiking`` registers with."""

if find_spec("sb3_contrib") is not None:
    from sb3_spiking.policies import contrib

    FAMILIES |= contrib.FAMILIES
    ALGORITHMS += contrib.ALGORITHMS
    for algorithm, reason in contrib.UNAVAILABLE.items():
        for name in NAMES:
            algorithm.policy_aliases.setdefault(name, unavailable(name, algorithm, reason))


def register(*algorithms: type[BaseAlgorithm], policies: ModuleType | Policies | None = None) -> None:
    """
    Make spiking policies known to algorithms by name, as in ``TD3("PopSANPolicy", env)``.

    ``import sb3_spiking`` does this for the algorithms of SB3 and, where it is installed, of sb3-contrib. Call it for
    an algorithm of yours with ``policy_aliases`` of its own. Its ``MlpPolicy`` then tells the family, unless you bring
    the policies. A second call with the same arguments changes nothing.

    :param algorithms: algorithm classes
    :param policies: spiking policies for these algorithms, from your own package: names and classes, or a module with
        classes named as ours are (``PopSANPolicy``, ``SpikingMlpPolicy``, ...; one is enough). They may replace names
        that the algorithm inherits, as class attributes do
    :raises ValueError: if there is no spiking policy for an algorithm, if ``policies`` holds something else, or if the
        algorithm itself has another class under a name, or a class is of another family; no algorithm has changed then
    """
    if policies is not None and not algorithms:
        raise ValueError("policies=... needs the algorithm that they are for: register(MyAlgorithm, policies=...)")
    for each in algorithms:
        if not (isinstance(each, type) and issubclass(each, BaseAlgorithm)):
            raise ValueError(f"register takes classes of algorithms, not {each!r}")
        if not isinstance(each.policy_aliases, MutableMapping):
            raise ValueError(
                f"{each.__name__}.policy_aliases={each.policy_aliases!r} must be a dict of names and policy classes"
            )
    given = None if policies is None else _named(policies)
    found = {each: _policies_for(each) if given is None else given for each in algorithms}
    for each, named in found.items():
        if given is not None:
            _check_families(each, given)
        _check_free(each, each.policy_aliases if given is None else vars(each).get("policy_aliases", {}), named)
    for each, named in found.items():
        if given is not None and "policy_aliases" not in vars(each):
            each.policy_aliases = dict(each.policy_aliases)  # a copy: the base class keeps its own
        each.policy_aliases.update(named)


def _policies_for(algorithm: type[BaseAlgorithm]) -> Policies:
    mlp_policy = algorithm.policy_aliases.get("MlpPolicy")
    family = None if mlp_policy is None else family_of(mlp_policy)
    if family in FAMILIES:
        return {name: getattr(FAMILIES[family], name) for name in NAMES}
    known = ", ".join(known.__name__ for known in ALGORITHMS)
    raise ValueError(
        f"no spiking policy for {algorithm.__name__}; there are some for {known} and their subclasses. "
        f"Register your own: register({algorithm.__name__}, policies={{'PopSANPolicy': ...}})"
    )


def _named(policies: object) -> Policies:
    """Check the policies of a user and return them by their names."""
    named: Mapping[Any, Any]
    if isinstance(policies, ModuleType):
        named = {name: vars(policies)[name] for name in NAMES if name in vars(policies)}
        if not named:
            raise ValueError(f"policies={policies.__name__} has none of {', '.join(NAMES)}; pass names and classes")
    elif isinstance(policies, Mapping) and policies:
        named = policies
    else:
        raise ValueError(f"policies={policies!r} must be a module, or a dict of names and policy classes")
    for name, policy in named.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"policies has the name {name!r}; a name is a string, such as 'PopSANPolicy'")
        if not (isinstance(policy, type) and issubclass(policy, BasePolicy)):
            raise ValueError(f"policies[{name!r}]={policy!r} must be a class derived from SB3's BasePolicy")
    return named


def _check_families(algorithm: type[BaseAlgorithm], policies: Policies) -> None:
    """Check that policies of a user are of a family that the algorithm has."""
    families = set(filter(None, map(family_of, algorithm.policy_aliases.values())))
    for name, policy in policies.items():
        own = family_of(policy)
        if families and own is not None and own not in families:
            needed = ", ".join(sorted(family.__name__ for family in families))
            raise ValueError(
                f"policies[{name!r}]={policy!r} is a policy of {ALGORITHMS_OF[own.__name__]}; {algorithm.__name__} "
                f"needs classes that derive from {needed}"
            )


def _check_free(algorithm: type[BaseAlgorithm], aliases: Policies, policies: Policies) -> None:
    """Check that there are no other classes under the names of these policies."""
    for name, policy in policies.items():
        taken = aliases.get(name, policy)
        if taken is not policy and not issubclass(taken, UnavailablePolicy):
            raise ValueError(
                f"{algorithm.__name__} has another policy named {name!r} already: {taken}; choose another name, or "
                f"del {algorithm.__name__}.policy_aliases[{name!r}] first"
            )
