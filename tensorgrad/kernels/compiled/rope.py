"""The rotation of queries and keys."""

from __future__ import annotations

import math

import numpy as np
from numba import intp

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.compiled.jit import in_parts, summing_any_strides

__all__ = ["rope"]


def rope(x: Array, cos_TE: Array, sin_TE: Array, out: Array | None = None) -> Array:
    if any(a.dtype != np.float32 for a in (x, cos_TE, sin_TE)):
        return reference.rope(x, cos_TE, sin_TE, out)
    x_BHTD = x[None, None] if x.ndim == 2 else x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
    # `out` has the memory order of x: queries and keys are transposed views, read and written row by row.
    out_BHTD = np.empty_like(x_BHTD) if out is None else out.reshape(x_BHTD.shape)

    def work(start: int, stop: int) -> None:
        _rope(x_BHTD, cos_TE, sin_TE, out_BHTD, start, stop)

    in_parts(len(x_BHTD), x.size, work)
    return out_BHTD.reshape(x.shape)


@summing_any_strides((4, 2, 2), (4,), intp, intp)
def _rope(x_BHTD, cos_TE, sin_TE, out_BHTD, start, stop):
    heads, length, half = x_BHTD.shape[1], x_BHTD.shape[2], cos_TE.shape[1]
    firsts, seconds = np.empty(half, np.float32), np.empty(half, np.float32)  # copies of a row, because out may be x
    for b in range(start, stop):
        for t in range(length):
            cos, sin = cos_TE[t], sin_TE[t]
            for h in range(heads):
                x, out = x_BHTD[b, h, t], out_BHTD[b, h, t]
                for e in range(half):
                    firsts[e], seconds[e] = x[e], x[half + e]
                for e in range(half):
                    out[e] = firsts[e] * cos[e] - seconds[e] * sin[e]
                for e in range(half):
                    out[half + e] = seconds[e] * cos[e] + firsts[e] * sin[e]
