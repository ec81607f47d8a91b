"""The inside of small matrix products: one tile of the output, held in vector registers.

LLVM's own vectoriser keeps the output in memory here, and reads and writes it at each step. So this one loop is
written in vector instructions: ROWS x COLUMNS sums stay in registers along the depth, and each step reads a row of b
and ROWS numbers of a (the inner kernel of Goto and van de Geijn, "Anatomy of
high-performance matrix multiplication", 2008, section 4.2).
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["COLUMNS", "ROWS", "add_product", "set_product"]

_HAS_AVX512 = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
_LANES = 16 if _HAS_AVX512 else 8
_VECTORS = 2  # in a row
# Half of the registers: this leaves room for operands, and has enough sums to hide the latency of an addition.
ROWS, COLUMNS = (8 if _HAS_AVX512 else 4), _VECTORS * _LANES


@intrinsic
def add_product(typing_context, a, a_row, a_step, b, b_step, c, c_row, depth):
    """c += a b for float32 a (ROWS, depth), b (depth, COLUMNS), c (ROWS, COLUMNS) at these addresses; depth > 0.

    a_row, a_step: the distances, in elements, of neighbours of a along its rows axis and along the depth;
    b_step, c_row: the same of b along the depth and of c along its rows. The rows of b and c are contiguous.
    """
    return types.void(*(types.intp,) * 8), lambda *parts: _generate(*parts, is_added=True)


@intrinsic
def set_product(typing_context, a, a_row, a_step, b, b_step, c, c_row, depth):
    """c = a b, as `add_product`, whatever c held."""
    return types.void(*(types.intp,) * 8), lambda *parts: _generate(*parts, is_added=False)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any, *, is_added: bool) -> Any:
    a, a_row, a_step, b, b_step, c, c_row, depth = arguments
    index, number = ir.IntType(64), ir.FloatType()
    vector, lanes = ir.VectorType(number, _LANES), ir.IntType(32)
    a, b, c = (builder.inttoptr(address, number.as_pointer()) for address in (a, b, c))

    def at(pointer: Any, offset: Any, position: int) -> Any:
        place = builder.gep(pointer, [builder.add(offset, index(position * _LANES))])
        return builder.bitcast(place, vector.as_pointer())

    rows = [builder.mul(c_row, index(i)) for i in range(ROWS)]
    places = [at(c, row, j) for row in rows for j in range(_VECTORS)]
    starts = [builder.load(place, align=4) if is_added else ir.Constant(vector, None) for place in places]
    entry, loop, done = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("done")
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(index)
    k.add_incoming(index(0), entry)
    sums = [builder.phi(vector) for _ in places]
    b_vectors = [builder.load(at(b, builder.mul(k, b_step), j), align=4) for j in range(_VECTORS)]
    column = builder.mul(k, a_step)
    results = []
    for i in range(ROWS):
        factor = builder.load(builder.gep(a, [builder.add(column, builder.mul(a_row, index(i)))]))
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), factor, lanes(0))
        all_lanes = ir.Constant(ir.VectorType(lanes, _LANES), [0] * _LANES)
        spread = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), all_lanes)
        for j, b_vector in enumerate(b_vectors):
            term = builder.fmul(spread, b_vector, flags=("contract",))
            results.append(builder.fadd(sums[i * _VECTORS + j], term, flags=("contract",)))
    following = builder.add(k, index(1))
    k.add_incoming(following, loop)
    for total, start, result in zip(sums, starts, results, strict=True):
        total.add_incoming(start, entry)
        total.add_incoming(result, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

    builder.position_at_end(done)
    for place, result in zip(places, results, strict=True):
        builder.store(result, place, align=4)
    return context.get_dummy_value()
