"""Tensors put together along an axis, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tensorgrad.arguments import as_integer, as_shape
from tensorgrad.array import module_of
from tensorgrad.errors import ShapeError, shown
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, check_alike, normalise_axis, operand
from tensorgrad.ops.index import getitem
from tensorgrad.ops.shape.axes import expand_dims
from tensorgrad.tape import record_joint
from tensorgrad.tensor import Tensor

__all__ = ["concat", "split", "stack", "unstack"]


def concat(xs: Sequence[TensorLike], *, axis: int | None = 0) -> Tensor:
    """The tensors one after the other along `axis`; they agree in every other axis and in dtype.

    With `axis` None each is flattened first.
    """
    arrays = _sequence("concat", xs)
    if axis is None:
        return concat([reshape(x, (-1,)) for x in xs])
    axis = normalise_axis("concat", axis, arrays[0].ndim)
    try:
        out = module_of(arrays[0]).concatenate(arrays, axis=axis)
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(
            f"concat: expected shapes that agree but in axis {axis}, got {shapes}: pad or broadcast them first"
        ) from None
    ends = [0]
    for a in arrays:
        ends.append(ends[-1] + a.shape[axis])
    before = (slice(None),) * axis

    def vjp(g: Any) -> Any:
        return [getitem(g, (*before, slice(i, j))) for i, j in pairwise(ends)]

    return record_joint(out, xs, vjp)


def stack(xs: Sequence[TensorLike], *, axis: int = 0) -> Tensor:
    """Tensors of one shape, along a new axis at position `axis` of the result."""
    arrays = _sequence("stack", xs)
    if any(a.shape != arrays[0].shape for a in arrays):
        raise ShapeError(
            f"stack: expected tensors of one shape, got {', '.join(str(a.shape) for a in arrays)}: "
            "pad or broadcast them first, or use concat"
        )
    axis = normalise_axis("stack", axis, arrays[0].ndim + 1)
    return concat([expand_dims(x, axis=axis) for x in xs], axis=axis)


def unstack(x: TensorLike, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along `axis`, without that axis."""
    a = operand("unstack", x)
    axis = normalise_axis("unstack", axis, a.ndim)
    return tuple(getitem(x, (*(slice(None),) * axis, i)) for i in range(a.shape[axis]))


def split(x: TensorLike, sizes: int | Sequence[int], *, axis: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along `axis`: parts of the given sizes, or a number of equal parts."""
    a = operand("split", x)
    axis = normalise_axis("split", axis, a.ndim)
    length = a.shape[axis]
    if not isinstance(sizes, Sequence):
        count = as_integer("split", "the number of parts", sizes)
        if count < 1 or length % count:
            raise ShapeError(f"split: expected a number of parts that divides {length}, got {count}: give their sizes")
        sizes = (length // count,) * count
    sizes = as_shape("split", sizes)
    if sum(sizes) != length:
        raise ShapeError(
            f"split: expected sizes that add up to {length}, got {shown(sizes)} for axis {axis} of {a.shape}: "
            "give a size for every part"
        )
    before = (slice(None),) * axis
    parts, start = [], 0
    for n in sizes:
        parts.append(getitem(x, (*before, slice(start, start + n))))
        start += n
    return tuple(parts)


def _sequence(op: str, xs: Sequence[TensorLike]) -> list[Any]:
    """The arrays of a non-empty sequence of operands of one dtype."""
    if not isinstance(xs, Sequence) or not len(xs):
        raise ShapeError(
            f"{op}: expected a list or tuple of at least one tensor, got {shown(xs)}: put the tensors into one"
        )
    arrays = [operand(op, x) for x in xs]
    check_alike(op, *arrays)
    return arrays
