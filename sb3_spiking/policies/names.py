"""Names of the policies, as ``sb3_spiking`` exports them."""

from typing import Any, NoReturn

from stable_baselines3.common.policies import BasePolicy

from sb3_spiking.policies.families import algorithm_making
from sb3_spiking.policies.presets import Preset


class PolicyName(str):
    """
    Name of a policy, under which SB3's algorithms find the class of their family.

    It is a string: ``PPO(sb3_spiking.PopSANPolicy, env)`` is ``PPO("PopSANPolicy", env)``. In ``isinstance`` it stands
    for the classes of all the families. The classes themselves are in ``sb3_spiking.policies.<family>``; annotate with
    them, or with [`SpikingPolicy`][sb3_spiking.policies.common.SpikingPolicy], their common base.
    """

    __slots__ = ()

    def __instancecheck__(self, instance: object) -> bool:
        return self.__subclasscheck__(type(instance))

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, Preset) and subclass.policy_name == self

    def __call__(self, *args: Any, **kwargs: Any) -> BasePolicy:
        # SB3's load puts the entries of custom_objects into the model as they are, and then calls its policy_class.
        algorithm = algorithm_making(self)
        if algorithm is None:
            raise TypeError(self._class_needed("be called"))
        algorithm.policy_class = policy_class = algorithm.policy_aliases[self]
        return policy_class(*args, **kwargs)

    def __or__(self, other: Any) -> NoReturn:
        raise TypeError(self._class_needed("be part of a union"))

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[Any, ...]) -> NoReturn:
        raise TypeError(self._class_needed("be subclassed"))

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(self._class_needed(f"have {name!r}"))

    def _class_needed(self, needed: str) -> str:
        return (
            f"sb3_spiking.{self} is the name under which each algorithm finds its own class, TD3({str(self)!r}, env); "
            f"a name cannot {needed}. The classes are in sb3_spiking.policies, that of TD3 is "
            f"sb3_spiking.policies.td3.{self}"
        )
