"""Untrusted JSON: every field is read with its type and its bounds."""

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

MAX_VALUES, MAX_DEPTH = 200_000, 64
"""Bounds of a JSON text: values, which take far more memory than their letters, and depth of nesting."""
MAX_KEY = 200
"""Characters of a name."""


def read_json(content: bytes) -> Any:
    """
    Read a JSON text in UTF-8.

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
    JSON object whose fields are read one by one; a missing field, or one of another type, is a ValueError.

    :param value: the object
    :param name: name in the errors; empty for the outermost object
    """

    def __init__(self, value: Any, name: str) -> None:
        self.name = name
        self.fields: Mapping[str, Any] = _expect(isinstance(value, dict), name or "it", value, "a JSON object")

    def whole(self, key: str, least: int, most: int) -> int:
        """Return an integer in ``[least, most]``."""
        return whole(self._name(key), self._value(key), least, most)

    def number(self, key: str, least: float, most: float) -> float:
        """Return a finite number in ``[least, most]``."""
        value = self._value(key)
        # NaN is in no interval; integers are compared as they are, however large.
        allowed = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        return float(_expect(allowed, self._name(key), value, f"a number in [{least:g}, {most:g}]"))

    def flag(self, key: str) -> bool:
        """Return a boolean."""
        value = self._value(key)
        return bool(_expect(isinstance(value, bool), self._name(key), value, "true or false"))

    def text(self, key: str, most: int = MAX_KEY) -> str:
        """Return a text of at most ``most`` characters."""
        value = self._value(key)
        allowed = isinstance(value, str) and len(value) <= most
        return str(_expect(allowed, self._name(key), value, f"a text of at most {most} characters"))

    def items(self, key: str, least: int, most: int) -> list[Any]:
        """Return a list of ``least`` to ``most`` entries."""
        value = self._value(key)
        allowed = isinstance(value, list) and least <= len(value) <= most
        return list(_expect(allowed, self._name(key), value, f"a list of {least} to {most} entries"))

    def wholes(self, key: str, length: int, least: int, most: int) -> list[int]:
        """Return a list of 1 to ``length`` integers in ``[least, most]``."""
        entries = enumerate(self.items(key, 1, length))
        return [whole(f"{self._name(key)}[{index}]", value, least, most) for index, value in entries]

    def record(self, key: str) -> "Record":
        """Return an object."""
        return Record(self._value(key), self._name(key))

    def records(self, key: str, least: int, most: int) -> list["Record"]:
        """Return a list of ``least`` to ``most`` objects."""
        return [
            Record(value, f"{self._name(key)}[{index}]") for index, value in enumerate(self.items(key, least, most))
        ]

    def get(self, key: str) -> Any:
        """Return an unchecked field, None where it is missing; for comparisons only."""
        return self.fields.get(key)

    def _value(self, key: str) -> Any:
        if key not in self.fields:
            raise ValueError(f"{self._name(key)} is missing")
        return self.fields[key]

    def _name(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def whole(name: str, value: Any, least: int, most: int) -> int:
    """
    Check an integer in ``[least, most]``.

    :raises ValueError: if the value is anything else
    """
    allowed = type(value) is int and least <= value <= most
    return int(_expect(allowed, name, value, f"an integer in [{least}, {most}]"))


def _expect(allowed: bool, name: str, value: Any, wanted: str) -> Any:
    if not allowed:
        raise ValueError(f"{name}={reprlib.repr(value)} must be {wanted}")
    return value
