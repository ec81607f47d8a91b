"""Ops that choose between values: the larger, the smaller, the one a condition picks."""

from __future__ import annotations

from typing import Any

from tensorgrad import array as arrays
from tensorgrad.array import module_of
from tensorgrad.errors import DTypeError, ShapeError
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import REFUSED, TensorLike, broadcast_error, is_number, operand, operands, shape_of
from tensorgrad.ops.elementwise.arithmetic import multiply
from tensorgrad.ops.logic import no_vjp
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["clip", "maximum", "minimum", "where"]


def maximum(x: TensorLike, y: TensorLike) -> Tensor:
    """The larger of x and y; at a tie each gets half of the gradient; nan if either is."""
    return _extremum("maximum", x, y)


def minimum(x: TensorLike, y: TensorLike) -> Tensor:
    """The smaller of x and y; at a tie each gets half of the gradient; nan if either is."""
    return _extremum("minimum", x, y)


def _extremum(op: str, x: TensorLike, y: TensorLike) -> Tensor:
    a, b = operands(op, x, y)
    xp = module_of(a if arrays.is_array(a) else b)
    try:
        out = getattr(xp, op)(a, b)
    except REFUSED:
        raise broadcast_error(op, a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)

    def share(chosen: Any, other: Any) -> Any:
        wins = chosen > other if op == "maximum" else chosen < other
        return (wins + 0.5 * (chosen == other)).astype(out.dtype)

    return record(
        out,
        (x, lambda g: sum_to(multiply(g, share(a, b)), x_shape)),
        (y, lambda g: sum_to(multiply(g, share(b, a)), y_shape)),
    )


def clip(x: TensorLike, low: float | None = None, high: float | None = None) -> Tensor:
    """x limited to [low, high], Python numbers or None; the gradient passes where low <= x <= high."""
    a = operand("clip", x)
    for bound in (low, high):
        if bound is not None and not is_number("clip", bound, a):
            raise DTypeError(f"clip: expected bounds to be Python numbers or None, got {type(bound).__name__}")
    xp = module_of(a)
    out = a if low is None else xp.maximum(a, low)
    out = out if high is None else xp.minimum(out, high)

    def vjp(g: Any) -> Any:
        return multiply(g, (out == a).astype(a.dtype))

    return record(out, (x, vjp))


def where(condition: Any, x: TensorLike, y: TensorLike) -> Tensor:
    """x where the bool `condition` holds, else y; all three broadcast."""
    test = operand("where", condition)
    if test.dtype != bool:
        raise DTypeError(f"where: expected a bool condition, got {test.dtype}: compare it with something")
    a, b = operands("where", x, y)
    try:
        out = module_of(test).where(test, a, b)
    except REFUSED:
        sizes = [shape_of(v) for v in (test, a, b)]
        raise ShapeError(f"where: expected shapes that broadcast, got {sizes[0]}, {sizes[1]} and {sizes[2]}") from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (condition, no_vjp),  # never needs a gradient, but makes the result a Tensor if it is one
        (x, lambda g: sum_to(where(test, g, 0.0), x_shape)),
        (y, lambda g: sum_to(where(test, 0.0, g), y_shape)),
    )
