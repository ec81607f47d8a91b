"""Trigonometric and hyperbolic functions, and their inverses."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import module_of
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import TensorLike, combined, float_operand, float_operands, shape_of
from tensorgrad.ops.elementwise.arithmetic import add, divide, multiply, negative, square, subtract
from tensorgrad.ops.elementwise.choice import where
from tensorgrad.ops.elementwise.exponential import rsqrt, sqrt
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh"]
__all__ += ["hypot", "sin", "sinh", "tan", "tanh"]


def sin(x: TensorLike) -> Tensor:
    """sin(x), x in radians."""
    a = float_operand("sin", x)
    out = module_of(a).sin(a)
    return record(out, (x, lambda g: multiply(g, cos(x))))


def cos(x: TensorLike) -> Tensor:
    """cos(x), x in radians."""
    a = float_operand("cos", x)
    out = module_of(a).cos(a)
    return record(out, (x, lambda g: negative(multiply(g, sin(x)))))


def tan(x: TensorLike) -> Tensor:
    """tan(x), x in radians."""
    a = float_operand("tan", x)
    return record(module_of(a).tan(a), (x, lambda g, y: multiply(g, add(square(y), 1))), keep_output=True)


def asin(x: TensorLike) -> Tensor:
    """The angle in -pi/2 .. pi/2 whose sine is x, nan where |x| > 1; the derivative is inf at -1 and 1."""
    a = float_operand("asin", x)
    return record(module_of(a).arcsin(a), (x, lambda g: multiply(g, _inverse_slope(x))))


def acos(x: TensorLike) -> Tensor:
    """The angle in 0 .. pi whose cosine is x, nan where |x| > 1; the derivative is -inf at -1 and 1."""
    a = float_operand("acos", x)
    return record(module_of(a).arccos(a), (x, lambda g: negative(multiply(g, _inverse_slope(x)))))


def _inverse_slope(x: Any) -> Any:
    """1 / sqrt(1 - x^2), the difference of squares as a product, which is exact near 1."""
    return rsqrt(multiply(subtract(1, x), add(x, 1)))


def atan(x: TensorLike) -> Tensor:
    """The angle in -pi/2 .. pi/2 whose tangent is x."""
    a = float_operand("atan", x)
    # 1 / hypot(x, 1)^2, as x^2 could overflow
    return record(module_of(a).arctan(a), (x, lambda g: divide(divide(g, r := hypot(x, 1)), r)))


def atan2(x: TensorLike, y: TensorLike) -> Tensor:
    """The angle in -pi .. pi of the point with ordinate x and abscissa y; both derivatives at (0, 0) are 0."""
    a, b = float_operands("atan2", x, y)
    out = combined("atan2", "arctan2", a, b)
    x_shape, y_shape = shape_of(a), shape_of(b)

    def turned(g: Any, other: Any) -> Any:
        """g other / (x^2 + y^2), without overflow."""
        radius = hypot(x, y)
        radius = where(data(radius) == 0, 1.0, radius)
        return multiply(g, divide(divide(other, radius), radius))

    return record(
        out,
        (x, lambda g: sum_to(turned(g, y), x_shape)),
        (y, lambda g: negative(sum_to(turned(g, x), y_shape))),
    )


def hypot(x: TensorLike, y: TensorLike) -> Tensor:
    """sqrt(x^2 + y^2), without overflow; both derivatives at (0, 0) are nan."""
    a, b = float_operands("hypot", x, y)
    out = combined("hypot", "hypot", a, b)
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g, r: sum_to(multiply(g, divide(x, r)), x_shape)),
        (y, lambda g, r: sum_to(multiply(g, divide(y, r)), y_shape)),
        keep_output=True,
    )


def sinh(x: TensorLike) -> Tensor:
    """The hyperbolic sine."""
    a = float_operand("sinh", x)
    return record(module_of(a).sinh(a), (x, lambda g: multiply(g, cosh(x))))


def cosh(x: TensorLike) -> Tensor:
    """The hyperbolic cosine."""
    a = float_operand("cosh", x)
    return record(module_of(a).cosh(a), (x, lambda g: multiply(g, sinh(x))))


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    a = float_operand("tanh", x)
    return record(module_of(a).tanh(a), (x, lambda g, y: multiply(g, subtract(1, square(y)))), keep_output=True)


def asinh(x: TensorLike) -> Tensor:
    """The number whose hyperbolic sine is x."""
    a = float_operand("asinh", x)
    return record(module_of(a).arcsinh(a), (x, lambda g: divide(g, hypot(x, 1))))


def acosh(x: TensorLike) -> Tensor:
    """The number >= 0 whose hyperbolic cosine is x. Where x < 1 it and its derivative are nan, which is inf at 1."""
    a = float_operand("acosh", x)
    # Two roots, as x^2 could overflow.
    return record(module_of(a).arccosh(a), (x, lambda g: divide(g, multiply(sqrt(subtract(x, 1)), sqrt(add(x, 1))))))


def atanh(x: TensorLike) -> Tensor:
    """The number whose hyperbolic tangent is x, nan where |x| > 1; the derivative is inf at -1 and 1."""
    a = float_operand("atanh", x)
    return record(module_of(a).arctanh(a), (x, lambda g: divide(g, multiply(subtract(1, x), add(x, 1)))))
