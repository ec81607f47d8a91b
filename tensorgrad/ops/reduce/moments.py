"""Mean, variance and standard deviation, computed in float64 and rounded once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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
    axes = normalise_axes("mean", axis, a.ndim)
    shape, count = a.shape, math.prod(a.shape[i] for i in axes)
    total = a.sum(axis=axes, dtype=np.float64, keepdims=keepdims)
    out = (total / count if count else total * math.nan).astype(a.dtype)
    return record(out, (x, lambda g: spread(divide(g, count or math.nan), shape, axes, keepdims)))


def var(x: TensorLike, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The sum of squared distances from the mean, divided by n - `correction`.

    Where that is not positive, the quotient by 0: inf, or nan where all elements are equal. So is the derivative,
    2 (x - mean) / (n - correction).
    """
    a = float_operand("var", x)
    axes = normalise_axes("var", axis, a.ndim)
    out = _variance(a, axes, correction, keepdims).astype(a.dtype)

    def vjp(g: Any) -> Any:
        return multiply(spread(multiply(g, 2), a.shape, axes, keepdims), _distance(x, axes, correction))

    return record(out, (x, vjp))


def std(x: TensorLike, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The square root of `var`; its derivative where all elements are equal is 0, as PyTorch's."""
    a = float_operand("std", x)
    axes = normalise_axes("std", axis, a.ndim)
    out = module_of(a).sqrt(_variance(a, axes, correction, keepdims)).astype(a.dtype)

    def vjp(g: Any, y: Any) -> Any:
        is_zero = data(y) == 0
        share = where(is_zero, 0.0, divide(g, where(is_zero, 1.0, y)))
        return multiply(spread(share, a.shape, axes, keepdims), _distance(x, axes, correction))

    return record(out, (x, vjp), keep_output=True)


def _variance(a: Array, axes: tuple[int, ...], correction: float, keepdims: bool) -> Any:
    count = math.prod(a.shape[i] for i in axes)
    freedom = count - correction
    wide = a.astype(np.float64, copy=False)
    if not count:
        return wide.sum(axis=axes, keepdims=keepdims) * math.nan
    # Taken from the first element first, so that equal elements have exactly no variance, and large ones lose nothing.
    distance = wide - wide[tuple(slice(0, 1) if i in axes else slice(None) for i in range(a.ndim))]
    distance = distance - distance.sum(axis=axes, keepdims=True) / count
    squares = (distance * distance).sum(axis=axes, keepdims=keepdims)
    return squares / freedom if freedom > 0 else module_of(a).where(squares > 0, math.inf, math.nan)


def _distance(x: TensorLike, axes: tuple[int, ...], correction: float) -> Any:
    """(x - mean) / (n - correction)."""
    freedom = math.prod(data(x).shape[i] for i in axes) - correction
    return multiply(subtract(x, mean(x, axis=axes, keepdims=True)), 1 / freedom if freedom > 0 else math.inf)
