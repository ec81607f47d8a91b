"""Random numbers drawn inside kernels: Philox4x64-10, as `reference.philox` defines it.

A counter gives four words, and a word two float32 numbers, each the top 24 bits of a half. Dropout keeps a number
that is at least the rate: here, one whose 24 bits are at least the integer `reference.philox.least_kept`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tensorgrad.kernels.compiled.jit import inlined

__all__ = ["NUMBERS", "draw_factors"]

NUMBERS = 8  # that one counter gives
_FIRST, _SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_FIRST_KEY, _SECOND_KEY = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_ZERO, _ONE, _HALF, _UNUSED = np.uint64(0), np.uint64(1), np.uint64(32), np.uint64(8)
_LOW = np.uint64(0xFFFFFFFF)


@intrinsic
def _high(typing_context, a, b):
    """The upper 64 bits of the product of two uint64: one instruction, whose lower half alone numba has."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(x, wide) for x in arguments))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@inlined
def draw_factors(factors, first, stop, seed, stream, least, factor):
    """Into `factors`, for each number of the counters from `first` up to `stop`: `factor` if it stays, else 0."""
    at = 0
    for block in range(first, stop):
        a, b, c, d = np.uint64(block) + _ONE, _ZERO, _ZERO, _ZERO
        key0, key1 = seed, stream
        for _ in range(10):
            high0, low0, high1, low1 = _high(a, _FIRST), a * _FIRST, _high(c, _SECOND), c * _SECOND
            a, b, c, d = high1 ^ b ^ key0, low1, high0 ^ d ^ key1, low0
            key0 += _FIRST_KEY
            key1 += _SECOND_KEY
        factors[at] = factor if (a & _LOW) >> _UNUSED >= least else 0
        factors[at + 1] = factor if a >> _HALF >> _UNUSED >= least else 0
        factors[at + 2] = factor if (b & _LOW) >> _UNUSED >= least else 0
        factors[at + 3] = factor if b >> _HALF >> _UNUSED >= least else 0
        factors[at + 4] = factor if (c & _LOW) >> _UNUSED >= least else 0
        factors[at + 5] = factor if c >> _HALF >> _UNUSED >= least else 0
        factors[at + 6] = factor if (d & _LOW) >> _UNUSED >= least else 0
        factors[at + 7] = factor if d >> _HALF >> _UNUSED >= least else 0
        at += NUMBERS
