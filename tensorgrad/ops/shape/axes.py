"""Axes reordered, added and removed: views of the same elements."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from tensorgrad.errors import ShapeError, shown
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, normalise_axes, normalise_axis, operand
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["expand_dims", "matrix_transpose", "moveaxis", "permute_dims", "squeeze"]


def permute_dims(x: TensorLike, axes: Sequence[int]) -> Tensor:
    """The axes in another order: axis i of the result is axis `axes[i]` of x."""
    a = operand("permute_dims", x)
    named = tuple(axes) if isinstance(axes, Sequence) else axes
    # The cache takes integers only: True and 1.0 equal 1.
    find = _known_orders if type(named) is tuple and {*map(type, named)} == {int} else _orders
    order, back = find(named, a.ndim)
    return record(a.transpose(order), (x, lambda g: permute_dims(g, back)))


def _orders(axes: Any, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes as 0 .. ndim - 1, and the order that undoes theirs."""
    order = normalise_axes("permute_dims", axes, ndim)
    if len(order) != ndim:
        raise ShapeError(
            f"permute_dims: expected each of {ndim} axes once, got {shown(axes)}: name all of them in their new order"
        )
    return order, tuple(order.index(i) for i in range(ndim))


_known_orders = functools.lru_cache(maxsize=256)(_orders)


def matrix_transpose(x: TensorLike) -> Tensor:
    """The last two axes swapped."""
    a = operand("matrix_transpose", x)
    if a.ndim < 2:
        raise ShapeError(
            f"matrix_transpose: expected at least two axes, got shape {a.shape}: insert one with expand_dims"
        )
    return record(a.swapaxes(-1, -2), (x, matrix_transpose))


def moveaxis(x: TensorLike, source: int | tuple[int, ...], destination: int | tuple[int, ...]) -> Tensor:
    """Each axis of `source` moved to its place in `destination`, the others in order."""
    ndim = operand("moveaxis", x).ndim
    origins, places = (normalise_axes("moveaxis", axes, ndim) for axes in (source, destination))
    if len(origins) != len(places):
        raise ShapeError(
            f"moveaxis: expected as many sources as destinations, got {shown(source)} and {shown(destination)}: "
            "give each source its place"
        )
    others = iter(i for i in range(ndim) if i not in origins)
    moved = dict(zip(places, origins, strict=True))
    return permute_dims(x, [moved[i] if i in moved else next(others) for i in range(ndim)])


def expand_dims(x: TensorLike, axis: int) -> Tensor:
    """A new axis of size 1 at position `axis` of the result."""
    a = operand("expand_dims", x)
    axis = normalise_axis("expand_dims", axis, a.ndim + 1)
    return reshape(x, (*a.shape[:axis], 1, *a.shape[axis:]))


def squeeze(x: TensorLike, axis: int | tuple[int, ...]) -> Tensor:
    """The given axes, of size 1, removed."""
    a = operand("squeeze", x)
    axes = normalise_axes("squeeze", axis, a.ndim)
    if any(a.shape[i] != 1 for i in axes):
        raise ShapeError(
            f"squeeze: expected axes of size 1, got axis={axis} of shape {a.shape}: index or reduce the axis instead"
        )
    return reshape(x, tuple(n for i, n in enumerate(a.shape) if i not in axes))
