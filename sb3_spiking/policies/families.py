"""Which policy belongs to which algorithm, told before a mismatch fails somewhere in SB3."""

import inspect

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_spiking.policies.unavailable import UnavailablePolicy

FAMILIES = {
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
"""Policy classes of SB3 and sb3-contrib -> the algorithms that use them."""

PACKAGES = ("stable_baselines3", "sb3_contrib")


def family_of(policy_class: type) -> type | None:
    """
    Return the policy class of SB3 or sb3-contrib that a policy class derives from.

    :param policy_class: any class
    :return: a class named in ``FAMILIES``; None if there is none
    """
    for cls in policy_class.__mro__:
        if cls.__name__ in FAMILIES and cls.__module__.startswith(PACKAGES):
            return cls
    return None


def algorithm_making(policy_class: type) -> BaseAlgorithm | None:
    """
    Return the algorithm that is making a policy; SB3 does not hand itself over, so it is looked for among the callers.

    :param policy_class: class of the policy
    :return: the algorithm; None if the policy is made by itself, or loaded
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, BaseAlgorithm) and vars(caller).get("policy_class") is policy_class:
            return caller
        frame = frame.f_back
    return None


def check_family(policy_class: type, algorithm: BaseAlgorithm) -> None:
    """
    Refuse the policy of another family.

    :param policy_class: one of ours, or derived from one
    :param algorithm: the algorithm that is making it
    :raises TypeError: if it is another's; the message says what to pass
    """
    families = map(family_of, algorithm.policy_aliases.values())
    needed, own = next(filter(None, families), None), family_of(policy_class)
    if needed is None or own is None or needed is own:
        return
    name = next(cls.__name__ for cls in policy_class.__mro__ if cls.__module__.startswith("sb3_spiking"))
    called = type(algorithm).__name__
    where = f"{policy_class.__module__}.{policy_class.__name__}"
    theirs = algorithm.policy_aliases.get(name)
    if theirs is None or issubclass(theirs, UnavailablePolicy):
        advice = getattr(theirs, "message", f"{called} has no spiking policy that is registered")
    else:
        advice = f"pass the name, under which each algorithm finds its own: {called}({name!r}, env)"
    raise TypeError(f"{where} is the {name} of {FAMILIES[own.__name__]}, not of {called}; {advice}")
