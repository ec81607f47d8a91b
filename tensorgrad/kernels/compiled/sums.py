"""Sums over rows: over blocks of rows, then over the blocks' sums in float64, in order."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array
from tensorgrad.dtype import DType
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, in_parts, summing

__all__ = ["NUM_ROWS", "column_sums", "sum_of_parts"]

NUM_ROWS = 128  # in a block: few enough for a float32 sum with an error of a few units in the last place


def column_sums(x_NC: Array, dtype: DType) -> Array:
    if not are_contiguous_floats(x_NC, like=x_NC) or dtype != x_NC.dtype:
        return reference.column_sums(x_NC, dtype)
    parts = np.empty((-(-len(x_NC) // NUM_ROWS), x_NC.shape[1]), x_NC.dtype)

    def work(start: int, stop: int) -> None:
        _sums_of_blocks(x_NC[start * NUM_ROWS : stop * NUM_ROWS], parts[start:stop])

    in_parts(len(parts), x_NC.size, work)
    return sum_of_parts(parts)


@summing
def _sums_of_blocks(x_NC, parts):
    for block in range(parts.shape[0]):
        total = parts[block]
        total[:] = 0
        for n in range(block * NUM_ROWS, min((block + 1) * NUM_ROWS, x_NC.shape[0])):
            row = x_NC[n]
            for i in range(row.shape[0]):
                total[i] += row[i]


def sum_of_parts(parts: Array) -> Array:
    """The sum over the first axis of (P, C), in the dtype of `parts`."""
    out = np.empty(parts.shape[1], parts.dtype)
    _sum_of_parts(parts, out, np.zeros(parts.shape[1], np.float64))
    return out


@summing
def _sum_of_parts(parts, out, total):
    for n in range(parts.shape[0]):
        part = parts[n]
        for i in range(part.shape[0]):
            total[i] += np.float64(part[i])
    for i in range(out.shape[0]):
        out[i] = total[i]
