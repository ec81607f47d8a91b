"""Rounding, quotients and remainders, and the sign bit."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import module_of
from tensorgrad.dtype import is_float
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import (
    TensorLike,
    combined,
    float_operand,
    float_operands,
    number_operand,
    operands,
    shape_of,
)
from tensorgrad.ops.elementwise.arithmetic import multiply
from tensorgrad.ops.elementwise.choice import where
from tensorgrad.ops.logic import constant, detached, no_vjp
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["ceil", "copysign", "floor", "floor_divide", "nextafter", "remainder", "round", "signbit", "trunc"]


def ceil(x: TensorLike) -> Tensor:
    """The smallest integer >= x, in the dtype of x; a constant to gradients."""
    return _rounded("ceil", x)


def floor(x: TensorLike) -> Tensor:
    """The largest integer <= x, in the dtype of x; a constant to gradients."""
    return _rounded("floor", x)


def round(x: TensorLike) -> Tensor:
    """The nearest integer, the even one of two, in the dtype of x; a constant to gradients."""
    return _rounded("round", x)


def trunc(x: TensorLike) -> Tensor:
    """The nearest integer towards 0, in the dtype of x; a constant to gradients."""
    return _rounded("trunc", x)


def _rounded(op: str, x: TensorLike) -> Tensor:
    a = number_operand(op, x)
    return constant(getattr(module_of(a), op)(a), x)


def floor_divide(x: TensorLike, y: TensorLike) -> Tensor:
    """floor(x / y), without the rounding of the quotient; x / y where either is infinite; a constant to gradients."""
    a, b = operands("floor_divide", x, y)
    out = combined("floor_divide", "floor_divide", a, b)
    if is_float(out.dtype):
        # As the array API: NumPy has nan for inf / 1, and -1 for 1 / -inf.
        xp = module_of(out)
        out = xp.where(xp.isinf(a) | xp.isinf(b), xp.divide(a, b), out).astype(out.dtype, copy=False)
    return constant(out, x, y)


def remainder(x: TensorLike, y: TensorLike) -> Tensor:
    """x - floor(x / y) y, in exact arithmetic: with the sign of y. Grad: dx = g, dy = -floor(x / y) g."""
    a, b = operands("remainder", x, y)
    out = combined("remainder", "remainder", a, b)
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(g, x_shape)),
        (y, lambda g: sum_to(multiply(g, -combined("remainder", "floor_divide", a, b)), y_shape)),
    )


def copysign(x: TensorLike, y: TensorLike) -> Tensor:
    """|x| with the sign bit of y. The derivative in x is 1 or -1, as the sign stays or changes, and 0 at x = 0."""
    a, b = float_operands("copysign", x, y)
    out = combined("copysign", "copysign", a, b)
    x_shape = shape_of(a)

    def slope() -> Any:
        xp = module_of(out)
        return xp.sign(a) * xp.sign(out)

    # Linear in x for every y. y gets no gradient, but makes the result a Tensor if it is one.
    return record(out, (x, lambda g: sum_to(multiply(g, slope()), x_shape)), (detached(y), no_vjp))


def nextafter(x: TensorLike, y: TensorLike) -> Tensor:
    """The next number of the dtype after x towards y. The derivative in x is 1, and 0 where x = y; in y it is 0."""
    a, b = float_operands("nextafter", x, y)
    out = combined("nextafter", "nextafter", a, b)
    x_shape = shape_of(a)
    return record(out, (x, lambda g: sum_to(where(a == b, 0.0, g), x_shape)), (detached(y), no_vjp))


def signbit(x: TensorLike) -> Tensor:
    """Whether the sign bit is set, bool: also of -0 and of a negative nan."""
    a = float_operand("signbit", x)
    return constant(module_of(a).signbit(a), x)
