"""Ops that choose between values: the larger, the smaller, the one a condition picks."""

from __future__ import annotations

from typing import Any

from tensorgrad.arguments import as_number
from tensorgrad.array import is_array, module_of
from tensorgrad.dtype import DType
from tensorgrad.errors import DTypeError, ShapeError
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import (
    REFUSED,
    TensorLike,
    check_devices,
    combined,
    number_operand,
    operand,
    operands,
    shape_of,
)
from tensorgrad.ops.elementwise.arithmetic import multiply
from tensorgrad.ops.logic import no_vjp
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["clip", "maximum", "minimum", "nan_to_num", "where"]


def maximum(x: TensorLike, y: TensorLike) -> Tensor:
    """The larger of x and y, nan if either is. At a tie each gets half of the gradient, at a nan each all of it."""
    a, b = operands("maximum", x, y)
    out = combined("maximum", "maximum", a, b)
    dtype, x_shape, y_shape = out.dtype, shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(multiply(g, _share(a < b, a == b, dtype)), x_shape)),
        (y, lambda g: sum_to(multiply(g, _share(b < a, a == b, dtype)), y_shape)),
    )


def minimum(x: TensorLike, y: TensorLike) -> Tensor:
    """The smaller of x and y, nan if either is. At a tie each gets half of the gradient, at a nan each all of it."""
    a, b = operands("minimum", x, y)
    out = combined("minimum", "minimum", a, b)
    dtype, x_shape, y_shape = out.dtype, shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(multiply(g, _share(a > b, a == b, dtype)), x_shape)),
        (y, lambda g: sum_to(multiply(g, _share(b > a, a == b, dtype)), y_shape)),
    )


def _share(loses: Any, ties: Any, dtype: DType) -> Any:
    """An operand's share of the gradient: 0 where it loses, a half at a tie, else 1."""
    return (1 - loses - 0.5 * ties).astype(dtype)


def clip(x: TensorLike, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor:  # noqa: A002
    """x limited to min <= x <= max; max where min > max. A bound is a number, a tensor that broadcasts with x, or None.

    Grad:    as torch.clamp: to x where min <= x <= max, bounds included; elsewhere to the bound that is the
             result (to min only where min < max); to none of them where one is nan.
    """
    a = number_operand("clip", x)
    low, high = (None if bound is None else operands("clip", x, bound)[1] for bound in (min, max))
    out = a
    if low is not None:
        out = combined("clip", "maximum", out, low)
    if high is not None:
        out = combined("clip", "minimum", out, high)
    shape, low_shape, high_shape = a.shape, shape_of(low), shape_of(high)

    def reaches_x() -> Any:
        inside = a == a
        inside = inside if low is None else inside & (a >= low)
        return inside if high is None else inside & (a <= high)

    def reaches_min() -> Any:
        return a < low if high is None else (a < low) & (low < high)

    def reaches_max() -> Any:
        return a > high if low is None else (a > high) | (high < low)

    return record(
        out,
        (x, lambda g: sum_to(where(reaches_x(), g, 0.0), shape)),
        (min, lambda g: sum_to(where(reaches_min(), g, 0.0), low_shape)),
        (max, lambda g: sum_to(where(reaches_max(), g, 0.0), high_shape)),
    )


def where(condition: Any, x: TensorLike, y: TensorLike) -> Tensor:
    """x where the bool `condition` holds, else y; all three broadcast. Only the chosen one gets the gradient."""
    test = operand("where", condition)
    if test.dtype != bool:
        raise DTypeError(f"where: expected a bool condition, got {test.dtype}: compare it with something")
    a, b = operands("where", x, y)
    check_devices("where", test, *(v for v in (a, b) if is_array(v)))
    try:
        out = module_of(test).where(test, a, b)
    except REFUSED:
        sizes = [shape_of(v) for v in (test, a, b)]
        raise ShapeError(
            f"where: expected shapes that broadcast, got {sizes[0]}, {sizes[1]} and {sizes[2]}: "
            "aligned at the last axis, each must be equal or 1"
        ) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (condition, no_vjp),  # never needs a gradient, but makes the result a Tensor if it is one
        (x, lambda g: sum_to(where(test, g, 0.0), x_shape)),
        (y, lambda g: sum_to(where(test, 0.0, g), y_shape)),
    )


def nan_to_num(x: TensorLike, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with nan, inf and -inf replaced, where None by the dtype's largest or smallest; those get no gradient."""
    a = number_operand("nan_to_num", x)
    xp = module_of(a)
    given = {"nan": nan, "posinf": posinf, "neginf": neginf}
    numbers = {name: as_number("nan_to_num", name, n) for name, n in given.items() if n is not None or name == "nan"}
    out = xp.nan_to_num(a, **numbers)
    return record(out, (x, lambda g: where(xp.isfinite(a), g, 0.0)))
