"""softmax, log_softmax, cross_entropy."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda.launch import Kernel, launch
from tensorgrad.kernels.cuda.operand import WARP, dense, scalar, threads_for, vector, wide_dtype

__all__ = [
    "cross_entropy",
    "cross_entropy_gradient",
    "log_softmax",
    "log_softmax_gradient",
    "softmax",
    "softmax_gradient",
]


def softmax(x_NC: Array) -> Array:
    return _of_rows("softmax", x_NC)


def softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    return _of_rows("softmax_gradient", g_NC, y_NC)


def log_softmax(x_NC: Array) -> Array:
    return _of_rows("log_softmax", x_NC)


def log_softmax_gradient(g_NC: Array, y_NC: Array) -> Array:
    return _of_rows("log_softmax_gradient", g_NC, y_NC)


def cross_entropy(
    logits_NV: Array, targets_N: Array, spread_V: Array | None
) -> tuple[Array, Array | None, Array, Array]:
    if spread_V is not None:  # a second sum, which only smoothed labels need
        return reference.cross_entropy(logits_NV, targets_N, spread_V)
    logits, targets = dense(logits_NV), dense(targets_N.astype(np.int64, copy=False))
    xp, (rows, width), wide = module_of(logits), logits.shape, wide_dtype(logits)
    losses, largest, total = (xp.empty(rows, wide) for _ in range(3))
    _launch("cross_entropy", logits, (logits,), (logits, targets, losses, largest, total), rows, width)
    return losses, None, largest, total


def cross_entropy_gradient(
    softmax_N: Array,
    target_N: Array,
    spread_N: Array,
    logits_NV: Array,
    targets_N: Array,
    spread_V: Array | None,
    largest_N: Array,
    total_N: Array,
    *,
    out_NV: Array | None = None,
) -> Array:
    if spread_V is not None:
        return reference.cross_entropy_gradient(
            softmax_N, target_N, spread_N, logits_NV, targets_N, spread_V, largest_N, total_N, out_NV=out_NV
        )
    logits, targets = dense(logits_NV), dense(targets_N.astype(np.int64, copy=False))
    xp, (rows, width), wide = module_of(logits), logits.shape, wide_dtype(logits)
    out: Array = xp.empty(logits.shape, logits.dtype) if out_NV is None else out_NV
    factors = [dense(xp.broadcast_to(a.astype(wide, copy=False), (rows,))) for a in (softmax_N, target_N)]
    arguments = (*factors, logits, targets, dense(largest_N), dense(total_N), out)
    _launch("cross_entropy_gradient", logits, (logits, out), arguments, rows, width)
    return out


def _of_rows(name: str, *arrays: Array) -> Array:
    arrays = tuple(map(dense, arrays))
    out = module_of(arrays[0]).empty(arrays[0].shape, arrays[0].dtype)
    _launch(name, out, (*arrays, out), (*arrays, out), *out.shape)
    return out  # type: ignore[no-any-return]


def _launch(
    name: str, like: Array, rows_of: tuple[Array, ...], arguments: tuple[Array, ...], rows: int, width: int
) -> None:
    """A block for each row; `rows_of` are the arrays that are read several elements at a time."""
    elements = vector(width, *rows_of)
    threads = threads_for(width, elements)
    kernel = Kernel("softmax.cu", name, {"SCALAR": scalar(like), "VECTOR": elements})
    shared_bytes = threads // WARP * 2 * np.dtype(wide_dtype(like)).itemsize
    launch(kernel, (rows,), (threads,), *arguments, np.int64(width), shared_bytes=shared_bytes)
