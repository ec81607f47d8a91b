"""Matrix products by NumPy's BLAS, on the threads that the kernels share."""

from __future__ import annotations

import functools

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels.threads import is_threaded, run_all

__all__ = ["matmul"]

_PARTS = 4  # fixed, so that results do not depend on the number of threads
_MIN_PART_FLOPS = 1 << 22  # below it, handing a part to a thread costs more than it saves


def matmul(a: Array, b: Array) -> Array:
    """The product over the last two axes, leading axes broadcast; ValueError if the shapes do not fit."""
    if is_threaded() and a.ndim == b.ndim == 2 and a.dtype.kind == "f":
        rows, inner, columns = *a.shape, b.shape[1]
        if 2 * rows * inner * columns >= _PARTS * _MIN_PART_FLOPS and b.shape[0] == inner:
            return _in_parts(a, b)
    return np.matmul(a, b)  # type: ignore[no-any-return]


def _in_parts(a: Array, b: Array) -> Array:
    """A large product of two matrices, cut along its longer side."""
    out = np.empty((a.shape[0], b.shape[1]), a.dtype)
    axis = 0 if a.shape[0] >= b.shape[1] else 1
    length = out.shape[axis]
    step = -(-length // _PARTS)
    tasks = []
    for start in range(0, length, step):
        part = slice(start, start + step)
        if axis == 0:
            tasks.append(functools.partial(np.matmul, a[part], b, out=out[part]))
        else:
            tasks.append(functools.partial(np.matmul, a, b[:, part], out=out[:, part]))
    run_all(tasks)
    return out
