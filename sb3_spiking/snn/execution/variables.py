"""
States of neurons for numba: a column of an array as a tuple of numbers.

numba cannot build a tuple in a loop. These two intrinsics are unrolled loops, written when a kernel is compiled.
"""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils, typing
from numba.extending import intrinsic

_Generated = tuple[typing.Signature, Callable[..., Any]]


@intrinsic(prefer_literal=True)
def load(_context: Any, array: Any, column: Any, variables: Any, rows: Any) -> _Generated:
    """Return ``array[:rows, column]`` as a tuple of ``variables`` numbers, 0 beyond the rows; nothing is checked."""
    count, present = variables.literal_value, rows.literal_value
    state = types.UniTuple(array.dtype, count)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = _column(context, builder, array, args[0], args[1], present)
        values = [context.unpack_value(builder, array.dtype, pointer) for pointer in pointers]
        values += [context.get_constant(array.dtype, 0.0)] * (count - present)
        return context.make_tuple(builder, state, values)

    return state(array, column, variables, rows), generate


@intrinsic(prefer_literal=True)
def store(_context: Any, state: Any, array: Any, column: Any, rows: Any) -> _Generated:
    """Write the first ``rows`` numbers of a tuple to ``array[:rows, column]``; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = _column(context, builder, array, args[1], args[2], rows.literal_value)
        for index, pointer in enumerate(pointers):
            value = context.cast(builder, builder.extract_value(args[0], index), state[index], array.dtype)
            context.pack_value(builder, array.dtype, value, pointer)
        return context.get_dummy_value()

    return types.void(state, array, column, rows), generate


def _column(context: Any, builder: Any, kind: types.Array, array: Any, column: Any, rows: int) -> list[Any]:
    """Return pointers to the first numbers of a column; the numbers of a row lie side by side."""
    structure = context.make_array(kind)(context, builder, array)
    stride = builder.extract_value(structure.strides, 0)
    pointers = []
    for row in range(rows):
        offset = builder.mul(stride, context.get_constant(types.intp, row))
        start = cgutils.pointer_add(builder, structure.data, offset, structure.data.type)
        pointers.append(builder.gep(start, [column]))
    return pointers
