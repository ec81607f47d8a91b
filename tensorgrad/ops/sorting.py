"""Ops that order elements, or find their place in an order. Nan counts as larger than any number."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tensorgrad.arguments import as_flag, as_integer, check_option
from tensorgrad.array import Array, device_of, module_of
from tensorgrad.errors import DTypeError, ShapeError, shown
from tensorgrad.ops.common import TensorLike, normalise_axis, operand, operands
from tensorgrad.ops.index import positions_along, put
from tensorgrad.ops.logic import constant
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["argsort", "searchsorted", "sort", "topk", "unique_all", "unique_counts", "unique_inverse", "unique_values"]


def sort(x: TensorLike, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in ascending (or descending) order along `axis`; each gradient returns to where its element was.

    With `stable`, equal elements keep their order.
    """
    a = operand("sort", x)
    axis = normalise_axis("sort", axis, a.ndim)
    index, shape = positions_along(a.shape, _order("sort", a, axis, descending, stable), axis), a.shape
    return record(a[index], (x, lambda g: put(shape, index, g, repeats=False)))


def argsort(x: TensorLike, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices along `axis` that sort x, int64."""
    a = operand("argsort", x)
    return constant(_order("argsort", a, normalise_axis("argsort", axis, a.ndim), descending, stable), x)


def _order(op: str, a: Array, axis: int, descending: bool, stable: bool) -> Array:
    xp = module_of(a)
    kind = "stable" if as_flag(op, "stable", stable) else None
    if a.dtype.kind == "V" and device_of(a) != "cpu":  # CuPy does not sort bfloat16
        a = a.astype(np.float32)
    if not as_flag(op, "descending", descending):
        return xp.argsort(a, axis=axis, kind=kind)  # type: ignore[no-any-return]
    # Flipped before and after, equal elements keep their order.
    return a.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(a, axis), axis=axis, kind=kind), axis)  # type: ignore[no-any-return]


def topk(x: TensorLike, k: int, *, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements along `axis`, the most extreme first, and their indices, int64.

    Equal elements keep their order.
    """
    a = operand("topk", x)
    axis = normalise_axis("topk", axis, a.ndim)
    k = as_integer("topk", "k", k)
    if not 0 <= k <= a.shape[axis]:
        raise ShapeError(
            f"topk: expected k in 0 .. {a.shape[axis]} for axis {axis} of {a.shape}, got {k}: ask for fewer"
        )
    order = _order("topk", a, axis, as_flag("topk", "largest", largest), True)[(*(slice(None),) * axis, slice(0, k))]
    index, shape = positions_along(a.shape, order, axis), a.shape
    return record(a[index], (x, lambda g: put(shape, index, g, repeats=False))), constant(order, x)


def searchsorted(x1: TensorLike, x2: TensorLike, *, side: str = "left", sorter: Any = None) -> Tensor:
    """For each element of x2, the index at which inserting it keeps x1 sorted, int64.

    Args:
        x1: a vector in ascending order, or in any order with `sorter`, the indices that sort it.
        x2: a tensor or a Python number.
        side: insert before equal elements ("left") or after them ("right").
    """
    a, (_, b) = operand("searchsorted", x1), operands("searchsorted", x1, x2)
    check_option("searchsorted", "side", side, "left", "right")
    if a.ndim != 1:
        raise ShapeError(f"searchsorted: expected x1 to be a vector, got shape {a.shape}: search its rows one by one")
    order = None if sorter is None else operand("searchsorted", sorter)
    if order is not None and (order.shape != a.shape or order.dtype.kind not in "iu"):
        raise ShapeError(
            f"searchsorted: expected sorter to be {a.size} integers, got {order.dtype}{order.shape}: "
            "make it with argsort"
        )
    xp = module_of(a)
    try:
        found = xp.searchsorted(a, xp.asarray(b, dtype=a.dtype), side=side, sorter=order)
    except OverflowError:
        raise DTypeError(
            f"searchsorted: expected a number that {a.dtype} can hold, got {shown(b)}: convert x1 with .astype"
        ) from None
    except ValueError:
        raise ShapeError(
            f"searchsorted: expected sorter to hold indices in 0 .. {a.size - 1}, got others: make it with argsort"
        ) from None
    return constant(found, x1, x2)


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` returns."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: TensorLike) -> UniqueAll:
    """The distinct values in ascending order, the first index of each in the flattened x, the index of each element's
    value among them, and how often each value occurs. Every nan is distinct. Constants to gradients.
    """
    a = operand("unique_all", x)
    values, first, inverse, counts = module_of(a).unique(
        a, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    return UniqueAll(*(constant(part, x) for part in (values, first, inverse.reshape(a.shape), counts)))


def unique_counts(x: TensorLike) -> UniqueCounts:
    """`values` and `counts` of `unique_all`."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: TensorLike) -> UniqueInverse:
    """`values` and `inverse_indices` of `unique_all`."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: TensorLike) -> Tensor:
    """The distinct elements in ascending order; every nan is distinct. A constant to gradients."""
    a = operand("unique_values", x)
    return constant(module_of(a).unique(a, equal_nan=False), x)
