"""Softmax, its logarithm, and the cross-entropy between it and the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.errors import DTypeError, ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.broadcast import reshape, sum
from tensorgrad.ops.common import TensorLike, float_operand, normalise_axis, operand
from tensorgrad.ops.elementwise import exp, multiply, subtract, where
from tensorgrad.ops.index import take_along_axis
from tensorgrad.ops.nn.definition import through
from tensorgrad.ops.reduce import logsumexp
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor


def softmax(x: TensorLike, *, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along `axis`, without overflow.

    Grad:    dx = y (g - sum(y g)).
    Saves:   the output.
    """
    a, axis = _float_with_axis("softmax", x, axis)

    def vjp(g: Any, y: Any) -> Any:
        if type(g) is Tensor:
            return multiply(y, subtract(g, sum(multiply(g, y), axis=axis, keepdims=True)))
        return _along(kernels_for(g).softmax_gradient, axis, g, y)

    return record(_along(kernels_for(a).softmax, axis, a), (x, vjp), keep_output=True)


def softmax_definition(x: Tensor, axis: int) -> Tensor:
    return exp(subtract(x, logsumexp(x, axis=axis, keepdims=True)))


def log_softmax(x: TensorLike, *, axis: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along `axis`, without overflow.

    Grad:    dx = g - exp(y) sum(g).
    Saves:   the output.
    """
    a, axis = _float_with_axis("log_softmax", x, axis)

    def vjp(g: Any, y: Any) -> Any:
        if type(g) is Tensor:
            return subtract(g, multiply(exp(y), sum(g, axis=axis, keepdims=True)))
        return _along(kernels_for(g).log_softmax_gradient, axis, g, y)

    return record(_along(kernels_for(a).log_softmax, axis, a), (x, vjp), keep_output=True)


def log_softmax_definition(x: Tensor, axis: int) -> Tensor:
    return subtract(x, logsumexp(x, axis=axis, keepdims=True))


def cross_entropy(logits: TensorLike, targets: Any, *, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """-log softmax(logits)[target], over the last axis, without overflow.

    Args:    logits (..., V) float; targets (...) integers in 0 .. V - 1, or `ignore_index`, whose
             positions count neither in the sum nor in the mean; reduction "mean", "sum" or "none".
    Returns: a scalar, or (...) for "none"; in the logits' accumulation dtype.
             The mean over no target at all is nan.
    Raises:  ShapeError, DTypeError; ValueError for another reduction.
    Grad:    dlogits = (softmax(logits) - onehot(target)) g.
    Saves:   logits, targets, one log-sum-exp per row.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'cross_entropy: expected reduction "mean", "sum" or "none", got {reduction!r}')
    a = float_operand("cross_entropy", logits)
    ids = operand("cross_entropy", targets)
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: expected integer targets, got {ids.dtype}")
    if not a.ndim or a.shape[:-1] != ids.shape:
        raise ShapeError(f"cross_entropy: expected logits (..., V) and targets (...), got {a.shape} and {ids.shape}")
    if not a.shape[-1]:
        raise ShapeError(f"cross_entropy: expected at least one class, got logits of shape {a.shape}")
    xp = module_of(a)
    flat, rows = a.reshape(-1, a.shape[-1]), ids.reshape(-1)
    is_counted = rows != ignore_index
    if xp.__name__ == "numpy" and ((rows < 0) | (rows >= a.shape[-1]))[is_counted].any():
        raise ShapeError(
            f"cross_entropy: expected targets in 0 .. {a.shape[-1] - 1}, or {ignore_index} to ignore, "
            f"got {rows.min()} .. {rows.max()}"
        )
    losses, row_logsumexp = kernels_for(a).cross_entropy(flat, rows, ignore_index)
    count = is_counted.sum()
    if reduction == "none":
        out = losses.reshape(ids.shape)
    else:
        out = losses.sum() if reduction == "sum" else losses.sum() / (count if count else math.nan)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return through(lambda x: cross_entropy_definition(x, ids, ignore_index, reduction), [logits], g)[0]
        # No target, no gradient: that mean is nan, but no logit is to blame.
        g_rows = xp.broadcast_to(g / max(count, 1) if reduction == "mean" else g, ids.shape).reshape(-1)
        dlogits = kernels_for(g).cross_entropy_gradient(g_rows, flat, rows, row_logsumexp, ignore_index)
        return dlogits.reshape(a.shape)

    return record(xp.asarray(out, dtype=row_logsumexp.dtype), (logits, vjp))


def cross_entropy_definition(logits: Tensor, targets: Array, ignore_index: int, reduction: str) -> Tensor:
    xp = module_of(targets)
    is_counted = targets != ignore_index
    wide = data(logits).dtype
    picked = take_along_axis(logits, xp.where(is_counted, targets, 0)[..., None], axis=-1)
    losses = where(is_counted, subtract(logsumexp(logits, axis=-1), reshape(picked, targets.shape)), 0.0)
    losses = losses.astype(accumulation_dtype(wide))
    if reduction == "none":
        return losses
    return sum(losses) if reduction == "sum" else multiply(sum(losses), 1 / max(int(is_counted.sum()), 1))


def _float_with_axis(op: str, x: Any, axis: int) -> tuple[Array, int]:
    a = float_operand(op, x)
    axis = normalise_axis(op, axis, a.ndim)
    if a.shape[axis] == 0:
        raise ShapeError(f"{op}: expected at least one element along axis {axis}, got shape {a.shape}")
    return a, axis


def _along(kernel: Callable[..., Array], axis: int, *arrays: Array) -> Array:
    """Apply a kernel for rows, (N, C), along `axis` of arrays of any shape."""
    xp = module_of(arrays[0])
    moved = [xp.moveaxis(a, axis, -1) for a in arrays]
    rows = [a.reshape(-1, a.shape[-1]) for a in moved]
    return xp.moveaxis(kernel(*rows).reshape(moved[0].shape), -1, axis)  # type: ignore[no-any-return]
