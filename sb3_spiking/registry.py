"""Names for the policies: the only code that writes to SB3's ``policy_aliases``."""

from stable_baselines3 import DDPG, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.td3.policies import TD3Policy

from sb3_spiking.policies import td3

FAMILIES: dict[type[BasePolicy], dict[str, type[BasePolicy]]] = {
    TD3Policy: {"PopSANPolicy": td3.PopSANPolicy},
}
"""SB3's policy class of a family of algorithms -> the names of our policies for it."""

ALGORITHMS: tuple[type[BaseAlgorithm], ...] = (TD3, DDPG)
"""The algorithms that ``import sb3_spiking`` registers with."""


def register(*algorithms: type[BaseAlgorithm]) -> None:
    """
    Make the spiking policies known to algorithms by name, as in ``TD3("PopSANPolicy", env)``.

    ``import sb3_spiking`` does this for SB3's own algorithms. Call it for an algorithm of yours that has
    ``policy_aliases`` of its own; its family is told by its ``MlpPolicy``. Doing it twice changes nothing.

    :param algorithms: algorithm classes
    :raises ValueError: if there is no spiking policy for an algorithm, or a name is taken by another class
    """
    for algorithm in algorithms:
        aliases = algorithm.policy_aliases
        policies = _policies_for(algorithm)
        for name, policy in policies.items():
            if aliases.get(name, policy) is not policy:
                raise ValueError(f"{algorithm.__name__} has another policy named {name!r} already: {aliases[name]}")
        aliases.update(policies)


def _policies_for(algorithm: type[BaseAlgorithm]) -> dict[str, type[BasePolicy]]:
    mlp_policy = algorithm.policy_aliases.get("MlpPolicy")
    for base, policies in FAMILIES.items():
        if mlp_policy is not None and issubclass(mlp_policy, base):
            return policies
    known = ", ".join(known.__name__ for known in ALGORITHMS)
    raise ValueError(f"no spiking policy for {algorithm.__name__}; there are some for {known} and their subclasses")
