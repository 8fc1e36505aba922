"""
Short vectors for numba: sums of rows in registers, and the non-zero values of a row, 64 at a time.

numba's loops over arrays read and write a sum in memory once per row. A value of the type ``Lanes`` is 256 bytes of a
row, which LLVM keeps in vector registers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import typing
from numba.extending import intrinsic, models, register_model

BYTES = 256
"""Size of a vector: half of AVX2's registers."""

BITS = 64
"""Number of values that ``present`` reads."""

_Generated = tuple[typing.Signature, Callable[..., Any]]


class Lanes(types.Type):
    """
    A vector of numbers.

    :param dtype: numba's type of the numbers
    """

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        self.size = 8 * BYTES // dtype.bitwidth
        super().__init__(f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, ir.VectorType(manager.lookup(lanes.dtype).get_value_type(), lanes.size))


def _pointer(context: Any, builder: Any, kind: types.Array, place: Any, vector: ir.VectorType) -> Any:
    """Return the place ``(array, start)`` as a pointer to a vector."""
    array, start = place
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), vector.as_pointer())


@intrinsic
def zeros(_context: Any, array: types.Array) -> _Generated:
    """Return a vector of zeros of an array's type."""
    lanes = Lanes(array.dtype)
    return lanes(array), lambda context, builder, signature, args: context.get_value_type(lanes)(None)


@intrinsic
def load(_context: Any, array: types.Array, start: types.Integer) -> _Generated:
    """Return the vector at ``array[start]`` of a flat array; nothing is checked."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, array, args, context.get_value_type(lanes))
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


@intrinsic
def store(_context: Any, lanes: Lanes, array: types.Array, start: types.Integer) -> _Generated:
    """Write a vector to ``array[start]`` and on, of a flat array; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, *place = args
        builder.store(vector, _pointer(context, builder, array, place, vector.type), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(lanes, array, types.intp), generate


@intrinsic
def add(_context: Any, a: Lanes, b: Lanes) -> _Generated:
    """Return the sum of two vectors."""
    return a(a, b), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def add_scaled(_context: Any, a: Lanes, b: Lanes, scale: types.Float) -> _Generated:
    """Return ``a + scale b``; the product must be exact, as it may be fused with the sum."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b, scale = args
        scaled = builder.fmul(b, _splat(builder, scale, b.type.count), flags=("contract",))
        return builder.fadd(a, scaled, flags=("contract",))

    return a(a, b, a.dtype), generate


def _splat(builder: Any, number: Any, count: int) -> Any:
    """Return a vector of one number."""
    kind, places = ir.VectorType(number.type, count), ir.VectorType(ir.IntType(32), count)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), places(None))


def _bits(context: Any, builder: Any, array: types.Array, args: Any, value: float) -> Any:
    """Return 64 bits; bit ``k`` tells whether ``array[start + k] != value``."""
    vector = ir.VectorType(context.get_value_type(array.dtype), BITS)
    values = builder.load(_pointer(context, builder, array, args, vector), align=array.dtype.bitwidth // 8)
    return builder.bitcast(builder.fcmp_unordered("!=", values, vector([value] * BITS)), ir.IntType(BITS))


@intrinsic
def present(_context: Any, array: types.Array, start: types.Integer) -> _Generated:
    """Return 64 bits; bit ``k`` tells whether ``array[start + k]`` of a flat array is not zero; nothing is checked."""
    return types.uint64(array, types.intp), lambda context, builder, signature, args: _bits(
        context, builder, array, args, 0.0
    )


@intrinsic
def not_one(_context: Any, array: types.Array, start: types.Integer) -> _Generated:
    """Return 64 bits; bit ``k`` tells whether ``array[start + k]`` of a flat array is not one; nothing is checked."""
    return types.uint64(array, types.intp), lambda context, builder, signature, args: _bits(
        context, builder, array, args, 1.0
    )


@intrinsic
def lowest(_context: Any, bits: types.Integer) -> _Generated:
    """Return the number of the lowest bit that is set; there must be one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


@intrinsic
def count(_context: Any, bits: types.Integer) -> _Generated:
    """Return the number of bits that are set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


SET_BITS = np.array(
    [[k for k in range(8) if byte >> k & 1] + [0] * (8 - byte.bit_count()) for byte in range(256)], np.uint8
).reshape(-1)
"""Places of the set bits of each byte, lowest first, eight numbers for a byte."""


@intrinsic
def list_changes(
    _context: Any,
    changes: types.Array,
    start: types.Integer,
    set_bits: types.Array,
    changed: Any,
    before: Any,
    first: Any,
) -> _Generated:
    """
    Write ``2 (first + k) + b`` for the set bits k of a byte, where b is bit k of another, to ``changes[start]`` and on.

    Eight numbers are written whatever the byte is; nothing is checked.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, start, table, byte, before, first = args
        i32 = ir.IntType(32)
        bytes_, numbers = ir.VectorType(ir.IntType(8), 8), ir.VectorType(i32, 8)
        one = numbers([1] * 8)
        row = builder.mul(byte, byte.type(8))
        places = builder.zext(
            builder.load(_pointer(context, builder, set_bits, (table, row), bytes_), align=1), numbers
        )
        gone = builder.and_(builder.lshr(_splat(builder, builder.trunc(before, i32), 8), places), one)
        place = builder.add(_splat(builder, builder.trunc(first, i32), 8), places)
        written = builder.or_(builder.shl(place, one), gone)
        builder.store(written, _pointer(context, builder, changes, (array, start), numbers), align=4)
        return context.get_dummy_value()

    return types.void(changes, types.intp, set_bits, types.intp, types.intp, types.intp), generate
