"""Parameters in a narrower dtype, rounded once for all who need them.

A model whose products take 16-bit floats, and whose parameters are float32, rounds each of them at every use: in each
micro-batch, and again where activations are computed again. Parameters that are views of one buffer can be rounded
together instead, by one kernel or by the one that updates them:

    with rounding_once(buffer, copy):
        ...                                   # nothing writes into the buffer here

Within it `rounded` gives views of that copy.
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
    """Within it, in this thread, `rounded` takes what lies in this dense buffer from `copy`, of another float dtype.

    Who writes into the buffer within it, and rounds then, gets what was there before.
    """
    token = _once.set((buffer, copy))
    try:
        yield
    finally:
        _once.reset(token)


def rounded(x: Array, dtype: DType) -> Array:
    """x in another float dtype: a part of the copy, or an array of its own; x itself if it has that dtype."""
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
