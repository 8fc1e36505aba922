"""Errors in user input, whose texts name arguments: as keywords in Python, as options at the command line."""

from dataclasses import dataclass
from typing import Any

from sb3_spiking.printable import one_line


@dataclass(frozen=True)
class Argument:
    """
    Argument in the text of an error: ``env='CartPole-v9'``, or ``env=`` alone.

    :param name: name of the argument in Python
    :param value: value of the argument, ``...`` for none
    """

    name: str
    value: Any = ...

    def __str__(self) -> str:
        return f"{self.name}=" if self.value is ... else f"{self.name}={self.value!r}"


class InputError(ValueError):
    """
    Input that is not as it should be; the text is one printable line, whatever a stranger's file holds.

    :param parts: the text in parts, with each `Argument` and each cause of its own, to be spelled in another way
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(one_line("".join(map(str, parts))))
        self.parts = parts
