"""Shapes and strides of results, as NumPy chooses them; and the error where they depend on values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.array import is_concrete
from tensorgrad.errors import NoValueError

__all__ = ["copied_order", "kept_order", "picked_shape", "refuse_values", "row_major", "steps"]

Shape = tuple[int, ...]


def row_major(shape: Shape, itemsize: int) -> Shape:
    """The strides of an array without gaps whose last axis varies fastest."""
    return _contiguous(shape, itemsize, range(len(shape) - 1, -1, -1))


def steps(x: Any, ndim: int) -> Shape:
    """The bytes by which each of `ndim` axes steps through an operand that is broadcast to them; 0 where it repeats."""
    own = (abs(stride) if n != 1 else 0 for stride, n in zip(x.strides, x.shape, strict=True))
    return (*(0,) * (ndim - x.ndim), *own)


def kept_order(shape: Shape, itemsize: int, operands: Sequence[Sequence[int]]) -> Shape:
    """The strides of a result that is computed element by element: contiguous, in the order of the operands' `steps`.

    NumPy's iterator chooses the order (`npyiter_find_best_axis_ordering`): an insertion sort of the axes,
    from the last one on, by the operands' steps; the first operand with different steps on two axes decides.
    """
    ndim = len(shape)
    order = list(range(ndim - 1, -1, -1))  # from the axis that varies fastest
    for i in range(1, ndim):
        axis, place = order[i], i
        for j in range(i - 1, -1, -1):
            comparable = [(step[axis], step[order[j]]) for step in operands if step[axis] and step[order[j]]]
            if not comparable:
                continue
            if any(inner <= outer for outer, inner in comparable):
                break
            place = j
        order.insert(place, order.pop(i))
    return _contiguous(shape, itemsize, order)


def copied_order(x: Any, itemsize: int) -> Shape:
    """The strides of a copy, or of an array like x: contiguous, the axes sorted by their strides in x."""
    order = sorted(range(x.ndim - 1, -1, -1), key=lambda axis: abs(x.strides[axis]))
    return _contiguous(x.shape, itemsize, order)


def _contiguous(shape: Shape, itemsize: int, order: Sequence[int]) -> Shape:
    """The strides of an array without gaps; `order` lists the axes from the one that varies fastest."""
    strides = [0] * len(shape)
    step = itemsize
    for axis in order:
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def picked_shape(shape: Shape, index: tuple[Any, ...]) -> Shape:
    """The shape of x[index] for x of `shape`, with integer arrays or masks in the index.

    NumPy finds it on stand-ins: an array of bytes at one address in place of x, without the axes that the
    index does not reach, and zeros in place of indices without values.
    """
    reached = 0
    parts: list[Any] = []
    for part in index:
        is_mask = getattr(part, "dtype", None) == np.dtype(bool)
        if not is_concrete(part):
            if is_mask:
                raise refuse_values("getitem with a mask")
            part = np.broadcast_to(np.zeros((), part.dtype), part.shape)
        parts.append(part)
        if part is ...:
            reached = len(shape)
        elif part is not None:
            reached += np.ndim(part) if is_mask else 1
    reached = min(reached, len(shape))
    stand_in = np.broadcast_to(np.zeros((), np.int8), shape[:reached])
    return tuple(stand_in[tuple(parts)].shape) + shape[reached:]


def refuse_values(what: str) -> NoValueError:
    """The error for code that asks an array without values for some."""
    return NoValueError(
        f"{what}: expected an array with values, got one of tensorgrad.abstract(), which has a shape and a dtype only: "
        "what depends on values cannot be run on shapes"
    )
