"""Reshape, broadcast, sum: the ops that every gradient needs, each one another's gradient."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from tensorgrad.array import module_of
from tensorgrad.dtype import is_float
from tensorgrad.errors import ShapeError
from tensorgrad.ops.common import Axis, TensorLike, as_shape, normalise_axes, operand
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = [
    "broadcast_to",
    "reshape",
    "sum",
]


def reshape(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """The same elements in row-major order under another shape; one size may be -1."""
    a = operand("reshape", x)
    old = a.shape
    try:
        new = tuple(operator.index(n) for n in shape)
        out = a.reshape(new)
    except (TypeError, ValueError):
        raise ShapeError(f"reshape: expected a shape of {a.size} elements, got {shape} for {old}") from None
    return record(out, (x, lambda g: reshape(g, old)))


def broadcast_to(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """x repeated to `shape`, as elementwise ops would: a read-only view."""
    a = operand("broadcast_to", x)
    try:
        out = module_of(a).broadcast_to(a, as_shape("broadcast_to", shape))
    except ValueError:
        raise ShapeError(f"broadcast_to: expected a shape that {a.shape} broadcasts to, got {shape}") from None
    old = a.shape
    return record(out, (x, lambda g: sum_to(g, old)))


def sum(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum; 0 for no elements. Integers and bools are summed as int64 (uint64 if unsigned)."""
    a = operand("sum", x)
    axes = normalise_axes("sum", axis, a.ndim)
    out = a.sum(axis=axes, keepdims=keepdims, dtype=a.dtype if is_float(a.dtype) else None)
    shape = a.shape
    return record(out, (x, lambda g: spread(g, shape, axes, keepdims)))


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` over the axes along which a value of `shape` was broadcast to it."""
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    axes = (*range(lead), *(i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1))
    return reshape(sum(g, axis=axes), shape)


def spread(g: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> Any:
    """Repeat a reduced value along the axes it was reduced over."""
    if not keepdims:
        g = reshape(g, tuple(1 if i in axes else n for i, n in enumerate(shape)))
    return broadcast_to(g, shape)
