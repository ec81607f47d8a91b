"""Ops that read elements by position, and ops that write them into a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.arguments import as_array, as_integer
from tensorgrad.array import Array, device_of, is_array, module_of, to_device
from tensorgrad.cotangent import Scatter
from tensorgrad.errors import DTypeError, ShapeError, shown
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import (
    TensorLike,
    axis_or_only,
    check_devices,
    normalise_axis,
    operand,
    operands,
    shape_of,
)
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.logic import constant
from tensorgrad.sorted_ids import SortedIds
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["embedding", "getitem", "index_add", "index_update", "nonzero", "take", "take_along_axis"]


def getitem(x: TensorLike, index: Any) -> Tensor:
    """x[index] with NumPy's meaning: integers, slices, None, ..., integer arrays, bool masks.

    An index may be a Tensor of integers or bools. Where integer arrays name an element more than
    once, its gradients add up. Raises ShapeError for an index that does not fit the shape.
    """
    a = operand("getitem", x)
    index = _plain("getitem", index, a)
    try:
        out = a[index]
    except (IndexError, ValueError, TypeError) as problem:
        raise ShapeError(
            f"getitem: expected an index that fits shape {a.shape}, got {shown(index)}: {problem}"
        ) from None
    shape = a.shape
    return record(out, (x, lambda g: put(shape, index, g, repeats=_may_repeat(index))))


def index_update(x: TensorLike, index: Any, values: TensorLike) -> Tensor:
    """A copy of x in which x[index] = values, which broadcast. The index must not name an element twice."""
    return _indexed("index_update", x, index, values)


def index_add(x: TensorLike, index: Any, values: TensorLike) -> Tensor:
    """A copy of x in which `values` are added to x[index]; an element named more than once gets all its values."""
    return _indexed("index_add", x, index, values)


def _indexed(op: str, x: TensorLike, index: Any, values: TensorLike) -> Tensor:
    a, index, b = placed(op, x, index, values)
    out = a.copy()
    if op == "index_update":
        out[index] = b
    else:
        Scatter(a.shape, index, b, repeats=_may_repeat(index)).add_to(out)
    values_shape = shape_of(values)

    def vjp_x(g: Any) -> Any:
        return index_update(g, index, 0.0) if op == "index_update" else g

    return record(out, (x, vjp_x), (values, lambda g: sum_to(getitem(g, index), values_shape)))


def placed(op: str, x: TensorLike, index: Any, values: TensorLike) -> tuple[Array, Any, Array]:
    """The array of x, and an index and values that can be written to it: the values in the shape of x[index]."""
    a, b = operands(op, x, values)
    if not is_array(a):
        raise DTypeError(f"{op}: expected a Tensor or an array to copy, got {shown(x)}: make it with tensorgrad.tensor")
    index, xp = _plain(op, index, a), module_of(a)
    try:
        return a, index, xp.broadcast_to(xp.asarray(b, dtype=a.dtype), a[index].shape)
    except (IndexError, ValueError, TypeError, OverflowError) as problem:
        raise ShapeError(
            f"{op}: expected index and values that fit shape {a.shape}, got {shown(index)} and {shape_of(b)}: {problem}"
        ) from None


def take(x: TensorLike, indices: Any, *, axis: int | None = None) -> Tensor:
    """The slices of x along `axis` at `indices`, integers whose shape takes the place of that axis.

    A vector needs no `axis`.
    """
    a = operand("take", x)
    axis = axis_or_only("take", axis, a.ndim)
    where_to = integers("take", indices, a)
    return getitem(x, (*(slice(None),) * axis, where_to) if axis else where_to)


def take_along_axis(x: TensorLike, indices: Any, *, axis: int = -1) -> Tensor:
    """The elements at `indices` along `axis`, for each position of the other axes; indices have as many axes as x."""
    a = operand("take_along_axis", x)
    axis = normalise_axis("take_along_axis", axis, a.ndim)
    where_to = integers("take_along_axis", indices, a)
    if where_to.ndim != a.ndim:
        raise ShapeError(
            f"take_along_axis: expected indices of {a.ndim} axes, got shape {where_to.shape}: give them the axes of x"
        )
    index = positions_along(a.shape, where_to, axis)
    try:
        out = a[index]
    except IndexError as problem:
        raise ShapeError(
            f"take_along_axis: expected indices that fit shape {a.shape}, got {shown(indices)}: {problem}"
        ) from None
    sizes = zip(where_to.shape, a.shape, strict=True)
    may_repeat = any(n > 1 if i == axis else n > m for i, (n, m) in enumerate(sizes))
    shape = a.shape
    return record(out, (x, lambda g: put(shape, index, g, repeats=may_repeat)))


def positions_along(shape: tuple[int, ...], indices: Any, axis: int) -> tuple[Any, ...]:
    """The index into an array of `shape` that picks `indices` along `axis` at each position of the other axes."""
    xp = module_of(indices)
    return tuple(
        indices if i == axis else xp.arange(n).reshape((n,) + (1,) * (len(shape) - i - 1)) for i, n in enumerate(shape)
    )


def nonzero(x: TensorLike) -> tuple[Tensor, ...]:
    """Where x is not zero: one vector of indices per axis, in row-major order, int64."""
    a = operand("nonzero", x)
    if not a.ndim:
        raise ShapeError("nonzero: expected at least one axis, got a scalar: reshape it to (1,)")
    return tuple(constant(positions, x) for positions in module_of(a).nonzero(a))


def embedding(weight: TensorLike, ids: Any, *, padding_idx: int | None = None) -> Tensor:
    """Rows of a table: weight[ids].

    Args:    weight (V, C) float; ids (...) integers in 0 .. V - 1, or SortedIds, which backward need
             not sort; padding_idx: a row that gets no gradient, counted from the end if below 0.
    Returns: (..., C).
    Raises:  ShapeError (ids or padding_idx out of range, weight not a matrix), DTypeError.
    Grad:    dweight[v] = the sum of g over the positions where ids == v, in a fixed order.
    Saves:   ids.
    """
    a = operand("embedding", weight)
    ids, order = (ids.ids, ids.order_N) if type(ids) is SortedIds else (ids, None)
    where_to = integers("embedding", ids, a)
    if a.ndim != 2:
        raise ShapeError(f"embedding: expected weight of shape (V, C), got {a.shape}: reshape it to rows")
    if where_to.size and type(where_to) is np.ndarray:
        low, high = int(where_to.min()), int(where_to.max())
        if low < 0 or high >= a.shape[0]:
            bad = low if low < 0 else high
            raise ShapeError(
                f"embedding: expected ids in 0 .. {a.shape[0] - 1}, got {bad}: enlarge weight, or check the ids"
            )
    shape = a.shape
    if padding_idx is None:
        return record(
            kernels_for(a).take_rows(a, where_to),
            (weight, lambda g: put(shape, where_to, g, repeats=True, order=order)),
        )
    padding = as_integer("embedding", "padding_idx", padding_idx)
    if not -shape[0] <= padding < shape[0]:
        raise ShapeError(
            f"embedding: expected padding_idx in {-shape[0]} .. {shape[0] - 1}, got {padding}: name a row of weight"
        )
    is_padding = (where_to == padding % shape[0])[..., None]

    def vjp(g: Any) -> Any:
        return put(shape, where_to, where(is_padding, 0.0, g), repeats=True, order=order)

    return record(kernels_for(a).take_rows(a, where_to), (weight, vjp))


def put(shape: tuple[int, ...], index: Any, g: Any, *, repeats: bool, order: Array | None = None) -> Any:
    """The gradient of x[index]: zeros of x's shape with g added at `index`."""
    if type(g) is not Tensor:
        return Scatter(shape, index, g, repeats=repeats, order=order)
    return index_add(module_of(g.array).zeros(shape, g.dtype), index, g)


def _may_repeat(index: Any) -> bool:
    """Whether an index could name an element twice: only integer arrays can."""
    return any(
        is_array(part) and part.dtype != bool and part.size > 1
        for part in (index if isinstance(index, tuple) else (index,))
    )


def integers(op: str, indices: Any, like: Array) -> Array:
    """An array, a Tensor or nested sequences of integers, as an array on the device of `like`."""
    given = data(indices)
    where_to = given if is_array(given) else to_device(_from_sequence(op, given), device_of(like))
    if where_to.dtype.kind not in "iu":
        raise DTypeError(
            f"{op}: expected integers, got {shown(indices)} of dtype {where_to.dtype}: convert them with .astype"
        )
    check_devices(op, like, where_to)
    return where_to


def _plain(op: str, index: Any, like: Array) -> Any:
    """The index with Tensors and sequences replaced by arrays, which `_may_repeat` looks for."""
    if isinstance(index, tuple):
        return tuple(_plain_part(op, part, like) for part in index)
    return _plain_part(op, index, like)


def _plain_part(op: str, part: Any, like: Array) -> Any:
    if type(part) is slice or type(part) is int:
        return part
    part = data(part)
    if isinstance(part, Sequence):  # Python's numbers go to the device of `like`
        part = to_device(_from_sequence(op, part), device_of(like))
    if is_array(part):
        if part.dtype.kind not in "iub":
            raise DTypeError(
                f"{op}: expected indices to be integers or bools, got {part.dtype}: convert them with .astype"
            )
        if type(like) is not np.ndarray or type(part) is not np.ndarray:
            check_devices(op, like, part)
    return part


def _from_sequence(op: str, indices: Any) -> Any:
    found = as_array(op, indices)
    return found if found.size else found.astype(np.int64)
