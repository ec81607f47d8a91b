"""Ops that rearrange elements without changing them: views where NumPy can give one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tensorgrad.array import module_of
from tensorgrad.errors import DTypeError, ShapeError
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, as_integer, as_shape, normalise_axes, normalise_axis, operand
from tensorgrad.ops.index import getitem
from tensorgrad.tape import data, record, record_joint
from tensorgrad.tensor import Tensor

__all__ = [
    "concat",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "roll",
    "split",
    "squeeze",
    "stack",
    "tril",
    "triu",
    "unstack",
]


def permute_dims(x: TensorLike, axes: Sequence[int]) -> Tensor:
    """The axes in another order: axis i of the result is axis `axes[i]` of x."""
    a = operand("permute_dims", x)
    order = normalise_axes("permute_dims", axes if isinstance(axes, int) else tuple(axes), a.ndim)
    if len(order) != a.ndim:
        raise ShapeError(f"permute_dims: expected each of {a.ndim} axes once, got {axes}")
    back = tuple(order.index(i) for i in range(a.ndim))
    return record(a.transpose(order), (x, lambda g: permute_dims(g, back)))


def matrix_transpose(x: TensorLike) -> Tensor:
    """The last two axes swapped."""
    a = operand("matrix_transpose", x)
    if a.ndim < 2:
        raise ShapeError(f"matrix_transpose: expected at least two axes, got shape {a.shape}")
    return record(a.swapaxes(-1, -2), (x, matrix_transpose))


def moveaxis(x: TensorLike, source: int, destination: int) -> Tensor:
    """Axis `source` moved to position `destination`, the others in order."""
    ndim = operand("moveaxis", x).ndim
    source, destination = (
        normalise_axis("moveaxis", source, ndim),
        normalise_axis("moveaxis", destination, ndim),
    )
    axes = [i for i in range(ndim) if i != source]
    axes.insert(destination, source)
    return permute_dims(x, axes)


def expand_dims(x: TensorLike, *, axis: int) -> Tensor:
    """A new axis of size 1 at position `axis` of the result."""
    a = operand("expand_dims", x)
    axis = normalise_axis("expand_dims", axis, a.ndim + 1)
    return reshape(x, (*a.shape[:axis], 1, *a.shape[axis:]))


def squeeze(x: TensorLike, *, axis: int | tuple[int, ...]) -> Tensor:
    """The given axes, of size 1, removed."""
    a = operand("squeeze", x)
    axes = normalise_axes("squeeze", axis, a.ndim)
    if any(a.shape[i] != 1 for i in axes):
        raise ShapeError(f"squeeze: expected axes of size 1, got axis={axis} of shape {a.shape}")
    return reshape(x, tuple(n for i, n in enumerate(a.shape) if i not in axes))


def concat(xs: Sequence[TensorLike], *, axis: int = 0) -> Tensor:
    """The tensors one after the other along `axis`; they agree in every other axis and in dtype."""
    arrays = _sequence("concat", xs)
    axis = normalise_axis("concat", axis, arrays[0].ndim)
    try:
        out = module_of(arrays[0]).concatenate(arrays, axis=axis)
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"concat: expected shapes that agree but in axis {axis}, got {shapes}") from None
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
    axis = normalise_axis("stack", axis, arrays[0].ndim + 1)
    return concat([expand_dims(x, axis=axis) for x in xs], axis=axis)


def unstack(x: TensorLike, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along `axis`, without that axis."""
    a = operand("unstack", x)
    axis = normalise_axis("unstack", axis, a.ndim)
    return tuple(getitem(x, (*(slice(None),) * axis, i)) for i in range(a.shape[axis]))


def split(x: TensorLike, sizes: int | Sequence[int], *, axis: int = 0) -> tuple[Tensor, ...]:
    """Consecutive parts along `axis`: of the given sizes, or that many of one size."""
    a = operand("split", x)
    axis = normalise_axis("split", axis, a.ndim)
    length = a.shape[axis]
    if not isinstance(sizes, Sequence):
        count = as_integer("split", "the number of parts", sizes)
        sizes = (length // count,) * count if count > 0 else ()
    sizes = as_shape("split", sizes)
    if sum(sizes) != length:
        raise ShapeError(f"split: expected sizes that add up to {length}, got {sizes} for axis {axis} of {a.shape}")
    before = (slice(None),) * axis
    parts, start = [], 0
    for n in sizes:
        parts.append(getitem(x, (*before, slice(start, start + n))))
        start += n
    return tuple(parts)


def flip(x: TensorLike, *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """The order of the elements reversed along `axis` (None: along every axis)."""
    a = operand("flip", x)
    axes = normalise_axes("flip", axis, a.ndim)
    return record(module_of(a).flip(a, axes), (x, lambda g: flip(g, axis=axes)))


def roll(x: TensorLike, shift: int, *, axis: int) -> Tensor:
    """Elements moved `shift` places along `axis`; those that leave at one end come in at the other."""
    a = operand("roll", x)
    axis = normalise_axis("roll", axis, a.ndim)
    shift = as_integer("roll", "shift", shift)
    return record(module_of(a).roll(a, shift, axis), (x, lambda g: roll(g, -shift, axis=axis)))


def tril(x: TensorLike, *, k: int = 0) -> Tensor:
    """The last two axes' lower triangle, on and below diagonal `k`; zeros elsewhere."""
    a, k = _matrix("tril", x), as_integer("tril", "k", k)
    return record(module_of(a).tril(a, k), (x, lambda g: tril(g, k=k)))


def triu(x: TensorLike, *, k: int = 0) -> Tensor:
    """The last two axes' upper triangle, on and above diagonal `k`; zeros elsewhere."""
    a, k = _matrix("triu", x), as_integer("triu", "k", k)
    return record(module_of(a).triu(a, k), (x, lambda g: triu(g, k=k)))


def _matrix(op: str, x: TensorLike) -> Any:
    a = operand(op, x)
    if a.ndim < 2:
        raise ShapeError(f"{op}: expected at least two axes, got shape {a.shape}")
    return a


def _sequence(op: str, xs: Sequence[TensorLike]) -> list[Any]:
    """The arrays of a non-empty sequence of operands of one dtype."""
    if not isinstance(xs, Sequence) or not len(xs):
        raise ShapeError(f"{op}: expected a list or tuple of at least one tensor, got {type(data(xs)).__name__}")
    arrays = [operand(op, x) for x in xs]
    if any(a.dtype != arrays[0].dtype for a in arrays):
        raise DTypeError(f"{op}: expected tensors of one dtype, got {', '.join(str(a.dtype) for a in arrays)}")
    return arrays
