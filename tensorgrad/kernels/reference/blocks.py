"""How the kernels cut their work: blocks of rows, about 65,000 elements each.

A block stays in the processor's cache from one step of a kernel to the next, and threads can share the blocks.
On a GPU everything is one block.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

from tensorgrad.array import Array, device_of, is_array, is_concrete, module_of
from tensorgrad.dtype import DType, accumulation_dtype
from tensorgrad.kernels.threads import run_all

BLOCK_ELEMENTS = 1 << 16

Result = TypeVar("Result")


def for_blocks(x: Array, work: Callable[[slice], Result]) -> list[Result]:
    """work(rows) for each block of the first axis of x; the results in order."""
    length = x.shape[0]
    if device_of(x) != "cpu":
        return [work(slice(0, length))]
    step = max(1, BLOCK_ELEMENTS // max(1, math.prod(x.shape[1:])))
    blocks = [slice(start, min(start + step, length)) for start in range(0, length, step)]
    if not is_concrete(x) and blocks:
        # Only shapes matter here, and the other blocks have the first one's.
        first = work(blocks[0])
        return [first, *(_another(first) for _ in blocks[1:])]
    return run_all([functools.partial(work, block) for block in blocks])


def _another(result: Any) -> Any:
    """A copy of a block's result, in place of another block's."""
    if isinstance(result, tuple):
        return tuple(_another(part) for part in result)
    return result.copy() if is_array(result) else result


def precisely(function: Callable[..., Array], *arrays: Array) -> Array:
    """An elementwise function of arrays of one shape, computed in the next wider dtype and rounded once.

    `function` gets and returns float64 for float32 and float64, and float32 for the 16-bit floats.
    """
    x = arrays[0]
    xp = module_of(x)
    wider = xp.float32 if x.dtype.itemsize == 2 else xp.float64
    out = xp.empty(x.shape, x.dtype)
    flat_out, flats = out.reshape(-1), [a.reshape(-1) for a in arrays]

    def work(rows: slice) -> None:
        flat_out[rows] = function(*(flat[rows].astype(wider, copy=False) for flat in flats))

    for_blocks(flats[0], work)
    return out  # type: ignore[no-any-return]


def add_in_order(parts: list[Array], x_NC: Array, dtype: DType) -> Array:
    """The sum, in order, of the partial sums (C,) of blocks of x, in `dtype`; zeros if there are no blocks."""
    total = module_of(x_NC).zeros(x_NC.shape[1:], accumulation_dtype(dtype))
    for part in parts:
        total += part
    return total.astype(dtype, copy=False)  # type: ignore[no-any-return]


def wide(x: Array) -> Array:
    """x in the dtype of statistics."""
    return x.astype(accumulation_dtype(x.dtype), copy=False)
