"""The largest and the smallest elements, and where they are."""

from __future__ import annotations

from typing import Any

from tensorgrad.arguments import as_flag
from tensorgrad.array import Array, module_of
from tensorgrad.errors import ShapeError
from tensorgrad.ops.broadcast import spread
from tensorgrad.ops.common import Axis, TensorLike, normalise_axes, normalise_axis, operand
from tensorgrad.ops.elementwise import multiply
from tensorgrad.ops.index import take_along_axis
from tensorgrad.ops.logic import constant
from tensorgrad.ops.shape import squeeze
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["argmax", "argmin", "max", "min"]


def max(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element; nan if any element is.

    Along one axis, the element that `argmax` names gets the gradient; over a tuple of axes, or all, ties share it
    evenly, nans included.
    """
    return _extremum("max", x, axis, keepdims)


def min(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element; nan if any element is. Ties as in `max`."""
    return _extremum("min", x, axis, keepdims)


def _extremum(op: str, x: TensorLike, axis: Axis, keepdims: bool) -> Tensor:
    a = operand(op, x)
    axes, keepdims = normalise_axes(op, axis, a.ndim), as_flag(op, "keepdims", keepdims)
    _refuse_empty(op, a, axes)
    xp = module_of(a)
    if axis is not None and not isinstance(axis, tuple):
        index = xp.expand_dims(getattr(xp, "arg" + op)(a, axis=axes[0]), axes[0])
        found = take_along_axis(x, index, axis=axes[0])
        return found if keepdims else squeeze(found, axis=axes[0])
    out = getattr(a, op)(axis=axes, keepdims=keepdims)

    def vjp(g: Any, y: Any) -> Any:
        found = spread(data(y), a.shape, axes, keepdims)
        best = (a == found) | ((a != a) & (found != found))
        share = best / best.sum(axis=axes, keepdims=True)
        return multiply(spread(g, a.shape, axes, keepdims), share.astype(a.dtype))

    return record(out, (x, vjp), keep_output=True)


def argmax(x: TensorLike, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first largest element, or nan, along `axis` (None: in the flattened array), int64."""
    return _arg_extremum("argmax", x, axis, keepdims)


def argmin(x: TensorLike, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first smallest element, or nan, along `axis` (None: in the flattened array), int64."""
    return _arg_extremum("argmin", x, axis, keepdims)


def _arg_extremum(op: str, x: TensorLike, axis: int | None, keepdims: bool) -> Tensor:
    a = operand(op, x)
    axes = normalise_axes(op, None, a.ndim) if axis is None else (normalise_axis(op, axis, a.ndim),)
    keepdims = as_flag(op, "keepdims", keepdims)
    _refuse_empty(op, a, axes)
    return constant(getattr(module_of(a), op)(a, axis=None if axis is None else axes[0], keepdims=keepdims), x)


def _refuse_empty(op: str, a: Array, axes: tuple[int, ...]) -> None:
    if 0 in (a.shape[i] for i in axes):
        raise ShapeError(
            f"{op}: expected at least one element along axes {axes}, got shape {a.shape}: leave empty axes out"
        )
