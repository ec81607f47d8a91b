"""Parameters in a narrower dtype, rounded once instead of at every use.

A model with float32 parameters and 16-bit products rounds each parameter at every use: in each micro-batch, and again
where activations are recomputed. Parameters that are views of one buffer can be rounded together instead, by one
kernel or by the kernel that updates them:

    with rounding_once(buffer, copy):
        ...                                   # nothing writes into the buffer here

Within it `rounded` returns views of that copy.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager

from tensorgrad.array import Array, address_of, is_concrete
from tensorgrad.dtype import DType
from tensorgrad.kernels import kernels_for

__all__ = ["rounded", "rounding_once"]

# A buffer, and its copy.
_once: contextvars.ContextVar[tuple[Array, Array] | None] = contextvars.ContextVar("_once", default=None)


@contextmanager
def rounding_once(buffer: Array, copy: Array) -> Iterator[None]:
    """Within it, in this thread, `rounded` takes parts of this dense buffer from `copy`, of another float dtype.

    Do not write into the buffer within it: `rounded` would return the values from before.
    """
    token = _once.set((buffer, copy))
    try:
        yield
    finally:
        _once.reset(token)


def rounded(x: Array, dtype: DType) -> Array:
    """x in another float dtype: a view of the copy, or a new array; x itself if it has that dtype."""
    if x.dtype == dtype:
        return x
    if (both := _once.get()) is not None and is_concrete(x):
        buffer, copy = both
        start = address_of(x) - address_of(buffer)
        is_part = type(x) is type(buffer) and x.dtype == buffer.dtype and x.flags.c_contiguous
        if is_part and copy.dtype == dtype and 0 <= start <= buffer.nbytes - x.nbytes:
            first = start // x.itemsize
            return copy[first : first + x.size].reshape(x.shape)
    return kernels_for(x).cast(x, dtype)
