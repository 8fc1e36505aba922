"""Names for the policies: the only code that writes to SB3's ``policy_aliases``."""

from importlib.util import find_spec
from types import ModuleType

from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from sb3_spiking.policies import dqn, on_policy, sac, td3
from sb3_spiking.policies.families import family_of
from sb3_spiking.policies.unavailable import UnavailablePolicy, unavailable

NAMES = ("PopSANPolicy", "SpikingMlpPolicy", "SpikingCnnPolicy", "SpikingMultiInputPolicy")
"""The policies of every family."""

FAMILIES: dict[type[BasePolicy], ModuleType] = {
    TD3Policy: td3,
    SACPolicy: sac,
    ActorCriticPolicy: on_policy,
    DQNPolicy: dqn,
}
"""SB3's policy class of a family of algorithms -> the module with our policies for it."""

ALGORITHMS: tuple[type[BaseAlgorithm], ...] = (TD3, DDPG, SAC, PPO, A2C, DQN)
"""The algorithms that ``import sb3_spiking`` registers with."""

if find_spec("sb3_contrib") is not None:
    from sb3_spiking.policies import contrib

    FAMILIES |= contrib.FAMILIES
    ALGORITHMS += contrib.ALGORITHMS
    for algorithm, reason in contrib.UNAVAILABLE.items():
        for name in NAMES:
            algorithm.policy_aliases.setdefault(name, unavailable(name, algorithm, reason))


def register(*algorithms: type[BaseAlgorithm]) -> None:
    """
    Make the spiking policies known to algorithms by name, as in ``TD3("PopSANPolicy", env)``.

    ``import sb3_spiking`` does this for the algorithms of SB3 and, where it is installed, of sb3-contrib. Call it for
    an algorithm of yours that has ``policy_aliases`` of its own; its family is told by its ``MlpPolicy``. Doing it
    twice changes nothing.

    :param algorithms: algorithm classes
    :raises ValueError: if there is no spiking policy for an algorithm, or a name is taken by another class
    """
    for algorithm in algorithms:
        aliases = algorithm.policy_aliases
        policies = _policies_for(algorithm)
        for name, policy in policies.items():
            taken = aliases.get(name, policy)
            if taken is not policy and not issubclass(taken, UnavailablePolicy):
                raise ValueError(f"{algorithm.__name__} has another policy named {name!r} already: {aliases[name]}")
        aliases.update(policies)


def _policies_for(algorithm: type[BaseAlgorithm]) -> dict[str, type[BasePolicy]]:
    mlp_policy = algorithm.policy_aliases.get("MlpPolicy")
    family = None if mlp_policy is None else family_of(mlp_policy)
    if family in FAMILIES:
        return {name: getattr(FAMILIES[family], name) for name in NAMES}
    known = ", ".join(known.__name__ for known in ALGORITHMS)
    raise ValueError(f"no spiking policy for {algorithm.__name__}; there are some for {known} and their subclasses")
