"""Reshape, broadcast and sum: the ops that every gradient needs. Their own gradients are each other."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, as_shape
from tensorgrad.array import module_of
from tensorgrad.dtype import DTypeLike, as_dtype, is_float, sum_dtype
from tensorgrad.errors import ShapeError, shown
from tensorgrad.ops.common import Axis, TensorLike, normalise_axes, operand
from tensorgrad.ops.convert import astype
from tensorgrad.ops.logic import constant
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["broadcast_arrays", "broadcast_shapes", "broadcast_to", "reshape", "sum"]


def reshape(x: TensorLike, shape: Sequence[int], *, copy: bool | None = None) -> Tensor:
    """The same elements in row-major order, in another shape; one size may be -1.

    The result is a view where NumPy can give one. copy=True always copies; copy=False raises ShapeError instead.
    """
    a = operand("reshape", x)
    old = a.shape
    try:
        new = tuple(operator.index(n) for n in shape)
        out = a.reshape(new)
    except (TypeError, ValueError):
        raise ShapeError(
            f"reshape: expected a shape of {a.size} elements, got {shown(shape)} for {old}: "
            "let the sizes multiply to that, or give one of them as -1"
        ) from None
    if copy is not None:
        as_flag("reshape", "copy", copy)
        is_view = not a.size or module_of(a).may_share_memory(out, a)
        if copy is False and not is_view:
            raise ShapeError(
                f"reshape: expected memory that {new} can view with copy=False, got strides {a.strides}: drop copy="
            )
        out = out.copy() if copy and is_view else out
    return record(out, (x, lambda g: reshape(g, old)))


def broadcast_to(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """x repeated to `shape`, as elementwise ops would: a read-only view."""
    a = operand("broadcast_to", x)
    try:
        out = module_of(a).broadcast_to(a, as_shape("broadcast_to", shape))
    except ValueError:
        raise ShapeError(
            f"broadcast_to: expected a shape that {a.shape} broadcasts to, got {shown(shape)}: "
            "keep its last sizes, or reshape it first"
        ) from None
    old = a.shape
    return record(out, (x, lambda g: sum_to(g, old)))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to. Raises ShapeError if there is none."""
    sizes = [as_shape("broadcast_shapes", shape) for shape in shapes]
    try:
        return np.broadcast_shapes(*sizes)
    except ValueError:
        names = " and ".join(map(str, shapes))
        raise ShapeError(
            f"broadcast_shapes: expected shapes that broadcast, got {names}: "
            "aligned at the last axis, each pair must be equal or have a 1"
        ) from None


def broadcast_arrays(*xs: TensorLike) -> list[Tensor]:
    """Each tensor repeated to the shape that all broadcast to: read-only views."""
    shape = broadcast_shapes(*(operand("broadcast_arrays", x).shape for x in xs))
    return [broadcast_to(x, shape) for x in xs]


def sum(x: TensorLike, *, axis: Axis = None, dtype: DTypeLike | None = None, keepdims: bool = False) -> Tensor:
    """The sum, in `dtype`; 0 for no elements. By default integers and bools give int64, unsigned ones uint64."""
    a = operand("sum", x)
    axes = normalise_axes("sum", axis, a.ndim)
    if keepdims is not False:
        keepdims = as_flag("sum", "keepdims", keepdims)
    target = sum_dtype(a.dtype) if dtype is None else as_dtype(dtype)
    if not is_float(target):
        return constant(a.sum(axis=axes, dtype=target, keepdims=keepdims), x)
    if target != a.dtype:
        return sum(astype(x, target), axis=axes, keepdims=keepdims)
    shape = a.shape
    # NumPy adds in pairs only along the axis that its inner loop runs over, and one after the other along the rest,
    # where a column of 100,000 float32 would lose two digits.
    out = a.sum(axis=axes, dtype=np.float64, keepdims=keepdims).astype(a.dtype, copy=False)
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
    return g if g.shape == shape else broadcast_to(g, shape)
