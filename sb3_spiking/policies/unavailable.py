"""Names that say why there is no spiking policy for an algorithm; SB3 would say "unknown"."""

from typing import Any, NoReturn

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy


class UnavailablePolicy(BasePolicy):
    """Stands in for a policy that there is not: making one raises an error with the reason."""

    message: str

    def __new__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise ValueError(cls.message)


def unavailable(name: str, algorithm: type[BaseAlgorithm], reason: str) -> type[UnavailablePolicy]:
    """
    Return what an algorithm finds under the name of a policy that it cannot have.

    :param name: name of the policy
    :param algorithm: the algorithm
    :param reason: why, and what to use
    :return: a class that cannot be instantiated
    """
    message = f"there is no {name} for {algorithm.__name__}: {reason}"
    return type(name, (UnavailablePolicy,), {"message": message, "__module__": __name__})
