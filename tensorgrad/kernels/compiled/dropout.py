"""Dropout."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, compiled, in_parts
from tensorgrad.kernels.compiled.philox import NUMBERS, draw_factors
from tensorgrad.kernels.reference.philox import least_kept

__all__ = ["dropout"]

_BLOCKS = 64  # counters drawn at a time: their numbers stay in the cache


def dropout(x: Array, keys_R2: Array, rate: float) -> Array:
    if not are_contiguous_floats(x, like=x) or not x.size:
        return reference.dropout(x, keys_R2, rate)
    x_RN, out = x.reshape(len(keys_R2), -1), np.empty(x.shape, x.dtype)
    out_RN, least, factor = out.reshape(x_RN.shape), np.uint64(least_kept(rate)), x.dtype.type(1 / (1 - rate))

    def work(start: int, stop: int) -> None:
        _dropout(x_RN, out_RN, keys_R2, least, factor, start, stop)

    in_parts(-(-x_RN.shape[1] // (NUMBERS * _BLOCKS)), x.size, work)
    return out


@compiled
def _dropout(x_RN, out_RN, keys_R2, least, factor, start, stop):
    """The parts of each row from `start` up to `stop`."""
    width = NUMBERS * _BLOCKS
    factors, zero = np.empty(width, x_RN.dtype), x_RN.dtype.type(0)
    for r in range(x_RN.shape[0]):
        for part in range(start, stop):
            first = part * width
            x, out = x_RN[r, first : first + width], out_RN[r, first : first + width]
            stop_block = part * _BLOCKS + (x.shape[0] + NUMBERS - 1) // NUMBERS
            draw_factors(factors, part * _BLOCKS, stop_block, keys_R2[r, 0], keys_R2[r, 1], least, factor)
            for i in range(x.shape[0]):
                out[i] = x[i] * factors[i] if factors[i] > 0 else zero  # not the product: infinity times 0 is nan
