"""Ops that combine the elements along axes.

`axis` is an integer, a tuple of them, or None for all; `keepdims` keeps reduced axes with size 1.
Raises ShapeError for an axis that is not there, or that is named twice.
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.array import module_of
from tensorgrad.dtype import accumulation_dtype, is_float
from tensorgrad.errors import ShapeError
from tensorgrad.ops.broadcast import reshape, spread, sum
from tensorgrad.ops.common import Axis, TensorLike, float_operand, normalise_axes, normalise_axis, operand, shape_of
from tensorgrad.ops.elementwise import add, astype, divide, exp, multiply, subtract, where
from tensorgrad.ops.index import getitem, take_along_axis
from tensorgrad.ops.logic import constant
from tensorgrad.ops.shape import concat, flip, permute_dims, squeeze
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "cumulative_sum",
    "logsumexp",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "var",
]


def mean(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean; nan for no elements."""
    a = float_operand("mean", x)
    axes = normalise_axes("mean", axis, a.ndim)
    total = sum(x, axis=axes, keepdims=keepdims)
    count = math.prod(a.shape[i] for i in axes)
    return divide(total, count) if count else multiply(total, math.nan)


def var(x: TensorLike, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The mean squared distance from the mean, divided by n - `correction` instead of n; nan where that is not > 0."""
    out, axes, freedom = _variance("var", x, axis, correction, keepdims)
    shape = shape_of(data(x))

    def vjp(g: Any) -> Any:
        centred = subtract(x, mean(x, axis=axes, keepdims=True))
        return multiply(spread(multiply(g, 2 / freedom), shape, axes, keepdims), centred)

    return record(out, (x, vjp))


def std(x: TensorLike, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The square root of `var`; its derivative at 0, where all elements are equal, is taken as 0."""
    variance, axes, freedom = _variance("std", x, axis, correction, keepdims)
    shape = shape_of(data(x))

    def vjp(g: Any, y: Any) -> Any:
        is_flat = data(y) == 0
        slope = where(is_flat, 0.0, divide(g, multiply(where(is_flat, 1.0, y), freedom)))
        centred = subtract(x, mean(x, axis=axes, keepdims=True))
        return multiply(spread(slope, shape, axes, keepdims), centred)

    return record(module_of(data(x)).sqrt(variance), (x, vjp), keep_output=True)


def _variance(op: str, x: Any, axis: Axis, correction: float, keepdims: bool) -> tuple[Any, tuple[int, ...], float]:
    """(the variance, the axes, n - correction)."""
    a = float_operand(op, x)
    axes = normalise_axes(op, axis, a.ndim)
    freedom = math.prod(a.shape[i] for i in axes) - correction
    # Taken from the first element first, so that equal elements have exactly no variance.
    centred = a - a[tuple(slice(0, 1) if i in axes else slice(None) for i in range(a.ndim))]
    centred = centred - centred.mean(axis=axes, keepdims=True) if centred.size else centred
    freedom = freedom if freedom > 0 else math.nan
    return (centred * centred).sum(axis=axes, keepdims=keepdims) / freedom, axes, freedom


def prod(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product; 1 for no elements. Integers and bools are multiplied as int64.

    The gradient is exact with any number of zeros: elements are multiplied pairwise in log2(n)
    steps, whose gradients never divide by an element.
    """
    a = operand("prod", x)
    axes = normalise_axes("prod", axis, a.ndim)
    x = x if is_float(a.dtype) else astype(x, "int64")
    kept = tuple(i for i in range(a.ndim) if i not in axes)
    count = math.prod(a.shape[i] for i in axes)
    y = reshape(permute_dims(x, kept + axes), (*(a.shape[i] for i in kept), count))
    if not count:
        y = add(sum(y, axis=-1, keepdims=True), 1)
    if count == 1:
        y = multiply(y, 1)  # the caller's to write into, not a view of x
    while y.shape[-1] > 1:
        half = y.shape[-1] // 2
        pairs = multiply(getitem(y, (..., slice(0, half))), getitem(y, (..., slice(half, 2 * half))))
        odd = y.shape[-1] % 2
        y = concat([pairs, getitem(y, (..., slice(2 * half, None)))], axis=-1) if odd else pairs
    return reshape(y, tuple(1 if i in axes else n for i, n in enumerate(a.shape) if keepdims or i not in axes))


def max(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element; nan if there is one.

    A tie over several axes (or all) shares the gradient evenly; along one axis its first index gets it.
    """
    return _extremum("max", x, axis, keepdims)


def min(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element; nan if there is one. Ties as in `max`."""
    return _extremum("min", x, axis, keepdims)


def _extremum(op: str, x: TensorLike, axis: Axis, keepdims: bool) -> Tensor:
    a = operand(op, x)
    axes = normalise_axes(op, axis, a.ndim)
    xp = module_of(a)
    _refuse_empty(op, a, axes)
    if isinstance(axis, int):
        index = xp.expand_dims(getattr(xp, "arg" + op)(a, axis=axis), axes[0])
        found = take_along_axis(x, index, axis=axes[0])
        return found if keepdims else squeeze(found, axis=axes[0])
    out = getattr(a, op)(axis=axes, keepdims=keepdims)

    def vjp(g: Any, y: Any) -> Any:
        found = spread(data(y), a.shape, axes, keepdims)
        best = (a == found) | ((a != a) & (found != found))  # nan is the largest and the smallest
        share = best / xp.sum(best, axis=axes, keepdims=True)
        return multiply(spread(g, a.shape, axes, keepdims), share.astype(a.dtype))

    return record(out, (x, vjp), keep_output=True)


def argmax(x: TensorLike, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first largest element along `axis` (None: in the flattened array), int64."""
    return _arg_extremum("argmax", x, axis, keepdims)


def argmin(x: TensorLike, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the first smallest element along `axis` (None: in the flattened array), int64."""
    return _arg_extremum("argmin", x, axis, keepdims)


def _arg_extremum(op: str, x: TensorLike, axis: int | None, keepdims: bool) -> Tensor:
    a = operand(op, x)
    axes = normalise_axes(op, None, a.ndim) if axis is None else (normalise_axis(op, axis, a.ndim),)
    _refuse_empty(op, a, axes)
    return constant(getattr(module_of(a), op)(a, axis=None if axis is None else axes[0], keepdims=keepdims), x)


def any(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether some element is not zero, bool."""
    a = operand("any", x)
    return constant(module_of(a).any(a, axis=normalise_axes("any", axis, a.ndim), keepdims=keepdims), x)


def all(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether no element is zero, bool."""
    a = operand("all", x)
    return constant(module_of(a).all(a, axis=normalise_axes("all", axis, a.ndim), keepdims=keepdims), x)


def cumulative_sum(x: TensorLike, *, axis: int) -> Tensor:
    """The running sum along `axis`, each element included in its own."""
    a = operand("cumulative_sum", x)
    axis = normalise_axis("cumulative_sum", axis, a.ndim)
    out = module_of(a).cumsum(a, axis=axis, dtype=a.dtype if is_float(a.dtype) else None)

    def vjp(g: Any) -> Any:
        return flip(cumulative_sum(flip(g, axis=axis), axis=axis), axis=axis)

    return record(out, (x, vjp))


def logsumexp(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))), without overflow; -inf where every element is -inf."""
    a = float_operand("logsumexp", x)
    axes = normalise_axes("logsumexp", axis, a.ndim)
    xp = module_of(a)
    _refuse_empty("logsumexp", a, axes)
    shift = a.max(axis=axes, keepdims=True)
    shift = xp.where(xp.isfinite(shift), shift, 0).astype(a.dtype)
    total = xp.exp(a - shift).sum(axis=axes, keepdims=True, dtype=accumulation_dtype(a.dtype))
    # log(0) = -inf is the answer where every element is -inf, and NumPy need not warn of it.
    out = (xp.log(xp.where(total == 0, 1, total)) + shift).astype(a.dtype)
    out = xp.where(total == 0, -math.inf, out).astype(a.dtype)
    out = out if keepdims else out.squeeze(axes)

    def vjp(g: Any, y: Any) -> Any:
        y = spread(y, a.shape, axes, keepdims)
        # In a row of -inf the difference x - y would be nan; with 0 for y, its weights are exp(-inf) = 0.
        weights = exp(subtract(x, where(data(y) != -math.inf, y, 0.0)))
        return multiply(spread(g, a.shape, axes, keepdims), weights)

    return record(out, (x, vjp), keep_output=True)


def _refuse_empty(op: str, a: Any, axes: tuple[int, ...]) -> None:
    if 0 in (a.shape[i] for i in axes):
        raise ShapeError(f"{op}: expected at least one element along axes {axes}, got shape {a.shape}")
