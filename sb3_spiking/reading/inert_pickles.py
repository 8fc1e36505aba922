"""Pickles read as data: a note of every import and call, with nothing imported and nothing called."""

import pickletools
from dataclasses import dataclass, field
from typing import Any

from sb3_spiking.printable import printable
from sb3_spiking.reading.budget import Budget

MAX_OPCODES = 200_000
"""Opcodes of a pickle, which bound the time to read it; those in SB3's files have hundreds to thousands."""
MAX_NAME = 500
"""Characters of a module and a class; a pickle may name any number of them."""


@dataclass(frozen=True)
class Name:
    """
    Class or function that a pickle names.

    :param module: name of the module
    :param name: name in the module
    """

    module: str
    name: str

    def __str__(self) -> str:
        # With a dot in the name, unpickling reaches modules that the module has imported, ``os`` for example.
        return printable(f"{self.module}{':' if '.' in self.name else '.'}{self.name}")


@dataclass(eq=False)
class Construction:
    """
    Object that unpickling would construct.

    :param maker: callable, usually a `Name`
    :param arguments: arguments of the call
    :param state: state that would be set afterwards
    :param entries: items with string keys that would be set afterwards, as in a dict
    """

    maker: Any
    arguments: Any
    state: Any = None
    entries: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Persistent:
    """
    Object that a pickle leaves to its file, such as the storage of a tensor in torch's files.

    :param id: persistent id
    """

    id: Any


class InertPickle:
    """
    Plain values of a pickle, with `Name`, `Construction` and `Persistent` in place of the others.

    Stack and memo are those of `pickle.Unpickler`; imports and calls become notes. A dict keeps its string keys only:
    hashing nested keys could take forever.

    :param pickled: the pickle
    :param opcodes: budget of opcodes, shared with other pickles of a file; ``MAX_OPCODES`` if None
    """

    def __init__(self, pickled: bytes, opcodes: Budget | None = None) -> None:
        self.value: Any = None
        """Value of the pickle; None where it is broken."""
        self.names: list[Name] = []
        """Classes and functions that unpickling would import, up to where the pickle breaks."""
        self.problem: str | None = None
        """Reason why the rest could not be read."""
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        budget = Budget(MAX_OPCODES, "opcodes") if opcodes is None else opcodes
        try:
            for opcode, argument, _ in pickletools.genops(pickled):
                budget.take(1)
                self._step(opcode.name, argument)
            self.value = self._stack.pop()
        except (ValueError, LookupError, TypeError) as error:
            self.problem = f"a broken pickle: {error}"

    def _step(self, code: str, argument: Any) -> None:
        stack = self._stack
        match code:
            case "PROTO" | "FRAME" | "STOP" | "READONLY_BUFFER":
                pass
            case "NONE" | "NEXT_BUFFER" | "PERSID":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(code == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(reversed([stack.pop() for _ in range(int(code[-1]))])))
            case "TUPLE":
                self._push(tuple(self._pop_mark()))
            case "LIST" | "FROZENSET":
                self._push(self._pop_mark())
            case "DICT":
                self._push(_string_keys(self._pop_mark()))
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self._extend(self._pop_mark())
            case "SETITEM":
                self._update([stack.pop(), stack.pop()][::-1])
            case "SETITEMS":
                self._update(self._pop_mark())
            case "GLOBAL":
                stack.append(self._name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(self._name(module, name))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(self._name("copyreg", f"extension {argument}"))
            case "INST":
                self._push(Construction(self._name(*argument.split(" ", 1)), tuple(self._pop_mark())))
            case "OBJ":
                maker, *arguments = self._pop_mark()
                self._push(Construction(maker, tuple(arguments)))
            case "REDUCE" | "NEWOBJ":
                arguments, maker = stack.pop(), stack.pop()
                stack.append(Construction(maker, arguments))
            case "NEWOBJ_EX":
                _, arguments, maker = stack.pop(), stack.pop(), stack.pop()
                stack.append(Construction(maker, arguments))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Construction):
                    stack[-1].state = state
            case "BINPERSID":
                stack[-1] = Persistent(stack[-1])
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "MARK":
                self._below_marks.append(stack)
                self._stack = []
            case "POP" if stack:
                stack.pop()
            case "POP" | "POP_MARK":
                self._pop_mark()
            case "DUP":
                stack.append(stack[-1])
            case _:  # every other opcode stands for its argument: a number, a string, bytes
                stack.append(argument)

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._below_marks.pop()
        return values

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(values)

    def _update(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Construction):
            target.entries.update(_string_keys(values))
        elif isinstance(target, dict):
            target.update(_string_keys(values))

    def _name(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global whose name is no text")
        if len(module) + len(name) > MAX_NAME:
            raise ValueError(f"a global whose name has more than {MAX_NAME} characters")
        self.names.append(Name(module, name))
        return self.names[-1]


def _string_keys(values: list[Any]) -> dict[str, Any]:
    pairs = zip(values[::2], values[1::2], strict=True)
    return {key: value for key, value in pairs if isinstance(key, str)}
