"""Products of few rows with a matrix, whose speed is that of reading the matrix.

BLAS reads several lines of the matrix side by side, to use each load more often. Line by line they are one stream,
which the processor prefetches: that is twice as fast where each number serves only a row or two.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels.compiled.jit import are_contiguous_floats, summing

__all__ = ["is_for", "product"]

_F = np.float32


def is_for(a: Array, b: Array) -> bool:
    """Whether `product` takes these: float32 matrices, a's rows and b's columns contiguous."""
    return a.ndim == b.ndim == 2 and are_contiguous_floats(a, b.T)


def product(a: Array, b: Array, out: Array) -> None:
    """out = a b, for a (M, K), b (K, N), out (M, N)."""
    _product(a, b.T, out)


@summing
def _product(a_MK, b_NK, out_MN):
    for n in range(b_NK.shape[0]):
        line = b_NK[n]
        for m in range(a_MK.shape[0]):
            row, total = a_MK[m], _F(0)
            for k in range(line.shape[0]):
                total += row[k] * line[k]
            out_MN[m, n] = total
