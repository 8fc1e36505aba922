"""Placeholders for policies that an algorithm cannot have; SB3 would call their names unknown."""

from typing import Any, NoReturn

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy


class UnavailablePolicy(BasePolicy):
    """Placeholder for a policy: making one raises an error with the reason."""

    message: str

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise ValueError(cls.message)


def unavailable(name: str, algorithm: type[BaseAlgorithm], reason: str) -> type[UnavailablePolicy]:
    """
    Make the placeholder for a policy that an algorithm cannot have.

    :param name: name of the policy
    :param algorithm: algorithm without the policy
    :param reason: reason, and alternative
    :return: class that cannot be instantiated
    """
    message = f"there is no {name} for {algorithm.__name__}: {reason}"
    return type(name, (UnavailablePolicy,), {"message": message, "__module__": __name__})
