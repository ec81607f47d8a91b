"""Sums over rows: in blocks of rows, then of the blocks' sums in float64, in order."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels.compiled.jit import summing

__all__ = ["NUM_ROWS", "sum_of_parts"]

NUM_ROWS = 128  # of a block: few enough for a sum in float32 to be right to some units in the last place


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
