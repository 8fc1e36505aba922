"""Errors in user input that name arguments: keywords in Python, options at the command line."""

from dataclasses import dataclass
from typing import Any

from sb3_spiking.printable import one_line


@dataclass(frozen=True)
class Argument:
    """
    Argument in the text of an error: ``env='CartPole-v9'``, or ``env=`` without a value.

    :param name: name of the argument in Python
    :param value: value of the argument, ``...`` for none
    """

    name: str
    value: Any = ...

    def __str__(self) -> str:
        return f"{self.name}=" if self.value is ... else f"{self.name}={self.value!r}"


class InputError(ValueError):
    """
    Error in user input; its text is one printable line, whatever is in an untrusted file.

    :param parts: texts, arguments and causes that make the text
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(one_line("".join(map(str, parts))))
        self.parts = parts
