"""JSON of unknown origin: each field is taken with its type and its bounds."""

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

MAX_VALUES, MAX_DEPTH = 200_000, 64
"""Values of a JSON text, and how deep they may be nested: each takes far more memory than its letters."""
MAX_KEY = 200
"""Characters of a name."""


def read_json(content: bytes) -> Any:
    """
    Read a JSON text.

    :param content: the text, UTF-8
    :return: what it stands for
    :raises ValueError: if it is no JSON, has too many values, is nested too deep or names a field twice
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    value = json.loads(content.decode("utf-8"), object_pairs_hook=_object)
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return value
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _inner(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


class Record:
    """
    A JSON object whose fields are taken one by one.

    :param value: what is to be one
    :param name: what it is called, for the errors; empty for the outermost
    :raises ValueError: if it is none
    """

    def __init__(self, value: Any, name: str) -> None:
        self.name = name
        self.fields: Mapping[str, Any] = _expect(isinstance(value, dict), name or "it", value, "a JSON object")

    def whole(self, key: str, least: int, most: int) -> int:
        """
        Return an integer.

        :param key: name of the field
        :param least: the smallest that is allowed
        :param most: the largest
        :raises ValueError: if the field is missing or anything else
        """
        return whole(self._name(key), self._value(key), least, most)

    def number(self, key: str, least: float, most: float) -> float:
        """See `whole`; of a real number, which is finite."""
        value = self._value(key)
        # NaN is in no interval; integers are compared as they are, however large.
        allowed = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        return float(_expect(allowed, self._name(key), value, f"a number in [{least:g}, {most:g}]"))

    def flag(self, key: str) -> bool:
        """See `whole`; of true or false."""
        value = self._value(key)
        return bool(_expect(isinstance(value, bool), self._name(key), value, "true or false"))

    def text(self, key: str, most: int = MAX_KEY) -> str:
        """See `whole`; of a text with so many characters at most."""
        value = self._value(key)
        allowed = isinstance(value, str) and len(value) <= most
        return str(_expect(allowed, self._name(key), value, f"a text of at most {most} characters"))

    def items(self, key: str, least: int, most: int) -> list[Any]:
        """See `whole`; of a list with so many entries."""
        value = self._value(key)
        allowed = isinstance(value, list) and least <= len(value) <= most
        return list(_expect(allowed, self._name(key), value, f"a list of {least} to {most} entries"))

    def wholes(self, key: str, length: int, least: int, most: int) -> list[int]:
        """See `whole`; of a list of 1 to ``length`` integers."""
        entries = enumerate(self.items(key, 1, length))
        return [whole(f"{self._name(key)}[{index}]", value, least, most) for index, value in entries]

    def record(self, key: str) -> "Record":
        """See `whole`; of an object."""
        return Record(self._value(key), self._name(key))

    def records(self, key: str, least: int, most: int) -> list["Record"]:
        """See `whole`; of a list with so many objects."""
        return [
            Record(value, f"{self._name(key)}[{index}]") for index, value in enumerate(self.items(key, least, most))
        ]

    def get(self, key: str) -> Any:
        """Return a field as it is, None where it is missing; to ask what it is, not to use it."""
        return self.fields.get(key)

    def _value(self, key: str) -> Any:
        if key not in self.fields:
            raise ValueError(f"{self._name(key)} is missing")
        return self.fields[key]

    def _name(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def whole(name: str, value: Any, least: int, most: int) -> int:
    """
    Check an integer.

    :param name: what it is called, for the error
    :param value: what is to be one
    :param least: the smallest that is allowed
    :param most: the largest
    :return: the value
    :raises ValueError: if it is anything else
    """
    allowed = type(value) is int and least <= value <= most
    return int(_expect(allowed, name, value, f"an integer in [{least}, {most}]"))


def _expect(allowed: bool, name: str, value: Any, wanted: str) -> Any:
    if not allowed:
        raise ValueError(f"{name}={reprlib.repr(value)} must be {wanted}")
    return value
