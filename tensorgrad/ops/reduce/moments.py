"""Mean, variance and standard deviation, computed in float64 and rounded once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag, as_number
from tensorgrad.array import Array, module_of
from tensorgrad.ops.broadcast import spread
from tensorgrad.ops.common import Axis, TensorLike, float_operand, normalise_axes
from tensorgrad.ops.elementwise import divide, multiply, subtract, where
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["mean", "std", "var"]


def mean(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean; nan for no elements."""
    a = float_operand("mean", x)
    axes, keepdims = normalise_axes("mean", axis, a.ndim), as_flag("mean", "keepdims", keepdims)
    shape, count = a.shape, math.prod(a.shape[i] for i in axes)
    total = a.sum(axis=axes, dtype=np.float64, keepdims=keepdims)
    out = (total / count if count else total * math.nan).astype(a.dtype)
    return record(out, (x, lambda g: spread(divide(g, count or math.nan), shape, axes, keepdims)))


def var(x: TensorLike, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The sum of squared distances from the mean, divided by n - `correction`.

    Where n - `correction` is not positive, value and derivative are divided by 0: inf, or nan for 0.
    """
    a = float_operand("var", x)
    axes, keepdims = normalise_axes("var", axis, a.ndim), as_flag("var", "keepdims", keepdims)
    variance, freedom = _variance("var", a, axes, correction, keepdims)
    xp = module_of(a)

    def vjp(g: Any) -> Any:
        distance = _distance(x, axes)
        scale = 2 / freedom if freedom > 0 else xp.where(data(distance) == 0, xp.nan, xp.inf).astype(a.dtype)
        return multiply(spread(g, a.shape, axes, keepdims), multiply(distance, scale))

    return record(variance.astype(a.dtype), (x, vjp))


def std(x: TensorLike, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The square root of `var`; its derivative where all elements are equal is 0, as PyTorch's."""
    a = float_operand("std", x)
    axes, keepdims = normalise_axes("std", axis, a.ndim), as_flag("std", "keepdims", keepdims)
    variance, freedom = _variance("std", a, axes, correction, keepdims)

    def vjp(g: Any, y: Any) -> Any:
        distance = _distance(x, axes)
        is_flat = data(y) == 0
        share = where(is_flat, 0.0, divide(g, multiply(where(is_flat, 1.0, y), freedom if freedom > 0 else math.nan)))
        return multiply(spread(share, a.shape, axes, keepdims), distance)

    return record(module_of(a).sqrt(variance).astype(a.dtype), (x, vjp), keep_output=True)


def _variance(op: str, a: Array, axes: tuple[int, ...], correction: float, keepdims: bool) -> tuple[Any, float]:
    """The variance in float64, and n - `correction`."""
    count = math.prod(a.shape[i] for i in axes)
    freedom = count - as_number(op, "correction", correction)
    wide = a.astype(np.float64, copy=False)
    if not count:
        return wide.sum(axis=axes, keepdims=keepdims) * math.nan, freedom
    distance = wide - _first(wide, axes)
    distance = distance - distance.sum(axis=axes, keepdims=True) / count
    squares = (distance * distance).sum(axis=axes, keepdims=keepdims)
    return squares / freedom if freedom > 0 else module_of(a).where(squares > 0, math.inf, math.nan), freedom


def _distance(x: TensorLike, axes: tuple[int, ...]) -> Any:
    """x - mean(x)."""
    shifted = subtract(x, _first(data(x), axes))
    return subtract(shifted, mean(shifted, axis=axes, keepdims=True))


def _first(a: Array, axes: tuple[int, ...]) -> Array:
    """The first element along `axes`, or 0 for an inf or nan.

    Distances taken from it, and then from their mean, are exactly 0 where all are equal, and lose nothing where all
    are large. No derivative depends on it.
    """
    xp = module_of(a)
    first = a[tuple(slice(0, 1) if i in axes else slice(None) for i in range(a.ndim))]
    return xp.where(xp.isfinite(first), first, 0).astype(a.dtype, copy=False)  # type: ignore[no-any-return]
