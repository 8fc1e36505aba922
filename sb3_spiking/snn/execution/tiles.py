"""
Tiles for numba: small blocks of a matrix product, or of a transposed matrix, that stay in vector registers.

LLVM makes vectors of half the width of AVX-512 from numba's loops, and a loop cannot hold a block of sums without a
name for each. These intrinsics are unrolled when a kernel is compiled. Arrays are flat, and nothing is checked.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, typing
from numba.extending import intrinsic

_FEATURES = llvm.get_host_cpu_features()

LANES = 16 if _FEATURES.get("avx512f") else 8
"""Number of float32 numbers in a vector, and of rows and columns that are transposed at once."""

ROWS, NEURONS = 5, 4
"""Size of a block of a product: as many sums fit into the registers of AVX-512."""

COLUMNS = 64
"""Number of columns of a table whose rows are added."""

_CHAINS, _PIECES = 4, COLUMNS // LANES

_SUMS = ("reassoc", "contract", "nsz")
"""Liberties with floating point for sums in any order, like torch's."""

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
_INDEX = ir.IntType(64)

_Generated = tuple[typing.Signature, Callable[..., Any]]


def _data(context: Any, builder: Any, kind: types.Array, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _read(builder: Any, data: Any, start: Any) -> Any:
    """Read a vector of numbers that lie side by side."""
    return builder.load(builder.bitcast(builder.gep(data, [start]), _VECTOR.as_pointer()), align=4)


def _read_some(builder: Any, data: Any, start: Any, mask: Any) -> Any:
    """Read the numbers of a vector that a mask selects; the others are 0, and their memory is not touched."""
    pointer = builder.bitcast(builder.gep(data, [start]), _VECTOR.as_pointer())
    kind = ir.FunctionType(_VECTOR, [pointer.type, ir.IntType(32), _MASK, _VECTOR])
    name = f"llvm.masked.load.v{LANES}f32.p0v{LANES}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [pointer, ir.IntType(32)(4), mask, _VECTOR(None)])


def _shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Choose numbers of two vectors; those of the second one count on."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _exchanged(builder: Any, a: Any, b: Any, distance: int) -> tuple[Any, Any]:
    """Exchange every second block of ``distance`` numbers of ``a`` for the block before it of ``b``."""
    first = [LANES + lane - distance if lane & distance else lane for lane in range(LANES)]
    second = [LANES + lane if lane & distance else lane + distance for lane in range(LANES)]
    return _shuffled(builder, a, b, first), _shuffled(builder, a, b, second)


def _totals(builder: Any, vectors: list[Any]) -> Any:
    """Add up the numbers of each of several vectors; return the sums, in their order, as one vector."""
    # Two vectors become one that holds half as many shares of the sums of each.
    distance = LANES // 2
    while len(vectors) > 1:
        half = len(vectors) // 2
        pairs = [_exchanged(builder, *pair, distance) for pair in zip(vectors[:half], vectors[half:], strict=True)]
        vectors = [builder.fadd(*pair, flags=_SUMS) for pair in pairs]
        distance //= 2
    # The shares of a sum lie side by side.
    (vector,) = vectors
    while distance:
        lanes = range(vector.type.count)
        halves = [lane for lane in lanes if not lane & distance], [lane for lane in lanes if lane & distance]
        vector = builder.fadd(*(_shuffled(builder, vector, vector, half) for half in halves), flags=_SUMS)
        distance //= 2
    return vector


@intrinsic
def multiply(
    _context: Any, inputs: Any, row: Any, rows: Any, weight: Any, neuron: Any, neurons: Any, fan_in: Any, current: Any
) -> _Generated:
    """
    Compute the currents of ``NEURONS`` neurons in ``ROWS`` rows, from ``row`` and ``neuron`` on.

    ``inputs`` is ``[rows, fan_in]``, ``weight`` is ``[neurons, fan_in]``, ``current`` is ``[rows, neurons]``. Where
    fewer are left, the last row or neuron is computed several times.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arrays = [_data(context, builder, signature.args[k], args[k]) for k in (0, 3, 7)]
        inputs, weight, current = arrays
        first_row, rows, first_neuron, neurons, fan_in = (args[k] for k in (1, 2, 4, 5, 6))

        def following(first: Any, end: Any, count: int) -> list[Any]:
            last = builder.sub(end, _INDEX(1))
            places = [builder.add(first, _INDEX(k)) for k in range(count)]
            return [builder.select(builder.icmp_signed("<", place, last), place, last) for place in places]

        row_places, neuron_places = following(first_row, rows, ROWS), following(first_neuron, neurons, NEURONS)
        sums = [[cgutils.alloca_once_value(builder, _VECTOR(None)) for _ in neuron_places] for _ in row_places]

        def accumulate(read: Callable[[Any, Any], Any]) -> None:
            columns = [read(weight, place) for place in neuron_places]
            for own, place in zip(sums, row_places, strict=True):
                values = read(inputs, place)
                for total, column in zip(own, columns, strict=True):
                    product = builder.fmul(values, column, flags=_SUMS)
                    builder.store(builder.fadd(builder.load(total), product, flags=_SUMS), total)

        def start(place: Any, offset: Any) -> Any:
            return builder.add(builder.mul(place, fan_in), offset)

        rest = builder.srem(fan_in, _INDEX(LANES))
        whole = builder.sub(fan_in, rest)
        with cgutils.for_range_slice(builder, _INDEX(0), whole, _INDEX(LANES), inc=True) as (offset, _):
            accumulate(lambda data, place: _read(builder, data, start(place, offset)))
        with builder.if_then(builder.icmp_signed(">", rest, _INDEX(0))):
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(LANES)))
            wide = builder.insert_element(
                lanes.type(ir.Undefined), builder.trunc(rest, ir.IntType(32)), ir.IntType(32)(0)
            )
            mask = builder.icmp_signed("<", lanes, _shuffled(builder, wide, wide, [0] * LANES))
            accumulate(lambda data, place: _read_some(builder, data, start(place, whole), mask))
        for own, row in zip(sums, row_places, strict=True):
            totals = _totals(builder, [builder.load(total) for total in own])
            for k, neuron in enumerate(neuron_places):
                place = builder.gep(current, [builder.add(builder.mul(row, neurons), neuron)])
                builder.store(builder.extract_element(totals, ir.IntType(32)(k)), place)
        return context.get_dummy_value()

    index = types.intp
    return types.void(inputs, index, index, weight, index, index, index, current), generate


@intrinsic
def transpose(_context: Any, source: Any, start: Any, stride: Any, target: Any, to: Any, to_stride: Any) -> _Generated:
    """Write ``LANES`` pieces of rows of ``source``, from ``start`` on, as pieces of columns of ``target``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (_data(context, builder, signature.args[k], args[k]) for k in (0, 3))

        def places(first: Any, step: Any) -> list[Any]:
            return [builder.add(first, builder.mul(step, _INDEX(k))) for k in range(LANES)]

        vectors = [_read(builder, source, place) for place in places(args[1], args[2])]
        # Exchange the off-diagonal quarters of blocks of 16, 8, 4 and 2 rows and columns.
        distance = LANES // 2
        while distance:
            for k in range(LANES):
                if k & distance:
                    continue
                pair = vectors[k], vectors[k + distance]
                vectors[k], vectors[k + distance] = _exchanged(builder, *pair, distance)
            distance //= 2
        for vector, place in zip(vectors, places(args[4], args[5]), strict=True):
            pointer = builder.bitcast(builder.gep(target, [place]), _VECTOR.as_pointer())
            builder.store(vector, pointer, align=4)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, target, index, index), generate


@intrinsic
def add_rows(_context: Any, table: Any, listed: Any, first: Any, end: Any, sums: Any, place: Any) -> _Generated:
    """Write the sum of the rows ``listed[first:end]`` of ``table``, ``[rows, COLUMNS]``, to ``sums[place]`` and on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, listed, sums = (_data(context, builder, signature.args[k], args[k]) for k in (0, 1, 4))
        _, _, first, end, _, place = args
        # Several sums at once: an addition waits for the one before it.
        totals = [[cgutils.alloca_once_value(builder, _VECTOR(None)) for _ in range(_PIECES)] for _ in range(_CHAINS)]

        def accumulate(index: Any, chains: int) -> None:
            for chain in range(chains):
                row = builder.load(builder.gep(listed, [builder.add(index, _INDEX(chain))]))
                start = builder.mul(builder.sext(row, _INDEX), _INDEX(COLUMNS))
                for piece, total in enumerate(totals[chain]):
                    values = _read(builder, table, builder.add(start, _INDEX(piece * LANES)))
                    builder.store(builder.fadd(builder.load(total), values, flags=_SUMS), total)

        rest = builder.srem(builder.sub(end, first), _INDEX(_CHAINS))
        whole = builder.sub(end, rest)
        with cgutils.for_range_slice(builder, first, whole, _INDEX(_CHAINS), inc=True) as (index, _):
            accumulate(index, _CHAINS)
        with cgutils.for_range_slice(builder, whole, end, _INDEX(1), inc=True) as (index, _):
            accumulate(index, 1)
        for piece, own in enumerate(zip(*totals, strict=True)):
            vectors = [builder.load(total) for total in own]
            while len(vectors) > 1:
                vectors = [builder.fadd(a, b, flags=_SUMS) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
            pointer = builder.gep(sums, [builder.add(place, _INDEX(piece * LANES))])
            builder.store(vectors[0], builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    index = types.intp
    return types.void(table, listed, index, index, sums, index), generate
