"""softmax, log_softmax, cross_entropy."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
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
    logits, targets = dense(logits_NV), dense(targets_N.astype(np.int64, copy=False))
    xp, (rows, width), wide = module_of(logits), logits.shape, wide_dtype(logits)
    losses, largest, total = (xp.empty(rows, wide) for _ in range(3))
    spread = _wide(spread_V, logits)
    spread_losses = None if spread is None else xp.empty(rows, wide)
    arguments = (logits, targets, spread, losses, spread_losses, largest, total)
    _launch("cross_entropy", logits, (logits,), arguments, rows, width)
    return losses, spread_losses, largest, total


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
    is_rounded: bool = False,
) -> Array:
    logits, targets = dense(logits_NV), dense(targets_N.astype(np.int64, copy=False))
    xp, (rows, width) = module_of(logits), logits.shape
    out: Array = xp.empty(logits.shape, logits.dtype) if out_NV is None else out_NV
    factors = [_wide(xp.broadcast_to(a, (rows,)), logits) for a in (softmax_N, target_N, spread_N)]
    arguments = (*factors, logits, targets, _wide(spread_V, logits), dense(largest_N), dense(total_N), out)
    _launch("cross_entropy_gradient", logits, (logits, out), arguments, rows, width)
    return out


def _wide(a: Array | None, like: Array) -> Array | None:
    """`a`, dense, in the accumulation dtype of `like`."""
    return None if a is None else dense(a.astype(wide_dtype(like), copy=False))


def _of_rows(name: str, *arrays: Array) -> Array:
    arrays = tuple(map(dense, arrays))
    out = module_of(arrays[0]).empty(arrays[0].shape, arrays[0].dtype)
    _launch(name, out, (*arrays, out), (*arrays, out), *out.shape)
    return out  # type: ignore[no-any-return]


def _launch(
    name: str, like: Array, rows_of: tuple[Array, ...], arguments: tuple[Array | None, ...], rows: int, width: int
) -> None:
    """Launch a block for each row; the kernel reads `rows_of` several elements at a time."""
    elements = vector(width, *rows_of)
    threads = threads_for(width, elements)
    kernel = Kernel("softmax.cu", name, {"SCALAR": scalar(like), "VECTOR": elements})
    shared_bytes = threads // WARP * 2 * np.dtype(wide_dtype(like)).itemsize
    launch(kernel, (rows,), (threads,), *arguments, np.int64(width), shared_bytes=shared_bytes)
