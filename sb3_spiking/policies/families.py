"""Check that a policy class belongs to the algorithm that makes it, before a mismatch fails somewhere in SB3."""

import inspect

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_spiking.policies.presets import Preset
from sb3_spiking.policies.unavailable import UnavailablePolicy

ALGORITHMS_OF = {
    "TD3Policy": "TD3 and DDPG",
    "SACPolicy": "SAC",
    "ActorCriticPolicy": "PPO, A2C and TRPO",
    "DQNPolicy": "DQN",
    "TQCPolicy": "TQC",
    "CrossQPolicy": "CrossQ",
    "MaskableActorCriticPolicy": "MaskablePPO",
    "QRDQNPolicy": "QRDQN",
    "RecurrentActorCriticPolicy": "RecurrentPPO",
    "ARSPolicy": "ARS",
}
"""Name of a policy class of SB3 or sb3-contrib -> its algorithms, in words."""

PACKAGES = ("stable_baselines3", "sb3_contrib")


def family_of(policy_class: type) -> type | None:
    """
    Return the policy class of SB3 or sb3-contrib from which a policy class derives.

    :param policy_class: any class
    :return: class named in ``ALGORITHMS_OF``; None if there is none
    """
    for cls in policy_class.__mro__:
        if cls.__name__ in ALGORITHMS_OF and cls.__module__.startswith(PACKAGES):
            return cls
    return None


def algorithm_making(policy_class: object) -> BaseAlgorithm | None:
    """
    Return the algorithm that is making a policy.

    SB3 does not pass itself to its policies. The algorithm is therefore looked for among the callers: no policy could
    otherwise refuse the algorithm of another family, or write plain values into the ``policy_kwargs`` that are saved.

    :param policy_class: class of the policy, or the exported name that stands in its place
    :return: algorithm; None if no algorithm makes the policy
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, BaseAlgorithm) and vars(caller).get("policy_class") is policy_class:
            return caller
        frame = frame.f_back
    return None


def check_family(policy_class: type[Preset], algorithm: BaseAlgorithm) -> None:
    """
    Check that a policy class is of the algorithm's family.

    :param policy_class: policy class of this package, or one derived from it
    :param algorithm: algorithm that makes it
    :raises TypeError: if it is of another family; the message says what to pass
    """
    families = map(family_of, algorithm.policy_aliases.values())
    needed, own = next(filter(None, families), None), family_of(policy_class)
    if needed is None or own is None or needed is own:
        return
    name = policy_class.policy_name
    called = type(algorithm).__name__
    where = f"{policy_class.__module__}.{policy_class.__name__}"
    theirs = algorithm.policy_aliases.get(name)
    if theirs is None or issubclass(theirs, UnavailablePolicy):
        advice = getattr(theirs, "message", f"{called} has no spiking policy that is registered")
    else:
        advice = f"pass the name, under which each algorithm finds its own: {called}({name!r}, env)"
    raise TypeError(f"{where} is the {name} of {ALGORITHMS_OF[own.__name__]}, not of {called}; {advice}")
