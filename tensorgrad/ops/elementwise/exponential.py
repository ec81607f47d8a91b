"""Exponentials, logarithms, powers and roots, and the functions made of them."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad import array as arrays
from tensorgrad.array import module_of
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import REFUSED, TensorLike, broadcast_error, float_operand, operands, shape_of
from tensorgrad.ops.elementwise.arithmetic import add, divide, multiply, negative, square, subtract
from tensorgrad.ops.elementwise.choice import where
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["erf", "exp", "expm1", "log", "log1p", "logaddexp", "pow", "rsqrt", "sigmoid", "sqrt"]


def exp(x: TensorLike) -> Tensor:
    """e ** x."""
    a = float_operand("exp", x)
    out = module_of(a).exp(a)
    return record(out, (x, lambda g, y: multiply(g, y)), keep_output=True)


def expm1(x: TensorLike) -> Tensor:
    """exp(x) - 1, exact near 0."""
    a = float_operand("expm1", x)
    out = module_of(a).expm1(a)
    return record(out, (x, lambda g, y: multiply(g, add(y, 1))), keep_output=True)


def log(x: TensorLike) -> Tensor:
    """The natural logarithm: -inf at 0, nan below."""
    a = float_operand("log", x)
    out = module_of(a).log(a)
    return record(out, (x, lambda g: divide(g, x)))


def log1p(x: TensorLike) -> Tensor:
    """log(1 + x), exact near 0."""
    a = float_operand("log1p", x)
    out = module_of(a).log1p(a)
    return record(out, (x, lambda g: divide(g, add(x, 1))))


def logaddexp(x: TensorLike, y: TensorLike) -> Tensor:
    """log(exp(x) + exp(y)), without overflow."""
    a, b = operands("logaddexp", x, y)
    try:
        out = module_of(a if arrays.is_array(a) else b).logaddexp(a, b)
    except REFUSED:
        raise broadcast_error("logaddexp", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(multiply(g, sigmoid(subtract(x, y))), x_shape)),
        (y, lambda g: sum_to(multiply(g, sigmoid(subtract(y, x))), y_shape)),
    )


def pow(x: TensorLike, y: TensorLike) -> Tensor:
    """x ** y. The derivative in x at y = 0 is 0; in y it is out * log(x), taken as 0 where x = 0 <= y."""
    a, b = operands("pow", x, y)
    try:
        out = a**b
    except REFUSED:
        raise broadcast_error("pow", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)

    def vjp_x(g: Any) -> Any:
        if arrays.is_array(b):
            # x ** (y - 1) is infinite at x = 0, y = 0, where the factor y makes the derivative 0.
            slope = where(data(y) == 0, 0.0, multiply(y, pow(x, where(data(y) == 0, 1.0, subtract(y, 1)))))
        else:
            slope = multiply(pow(x, b - 1), b) if b != 0 else module_of(a).zeros_like(a)
        return sum_to(multiply(g, slope), x_shape)

    def vjp_y(g: Any) -> Any:
        base_is_zero = data(x) == 0
        log_x = log(where(base_is_zero, 1.0, x)) if arrays.is_array(a) else _log_of_number(a)
        return sum_to(multiply(g, multiply(pow(x, y), log_x)), y_shape)

    return record(out, (x, vjp_x), (y, vjp_y))


def _log_of_number(a: float) -> float:
    """log(a) as `pow` takes it: 0 at 0, and nan below, where `math.log` would raise."""
    return math.log(a or 1) if a >= 0 else math.nan


def sqrt(x: TensorLike) -> Tensor:
    """The square root; its derivative at 0 is inf."""
    a = float_operand("sqrt", x)
    out = module_of(a).sqrt(a)
    return record(out, (x, lambda g, y: divide(g, multiply(y, 2))), keep_output=True)


def rsqrt(x: TensorLike) -> Tensor:
    """1 / sqrt(x)."""
    a = float_operand("rsqrt", x)
    out = 1 / module_of(a).sqrt(a)
    return record(out, (x, lambda g, y: multiply(g, multiply(multiply(y, square(y)), -0.5))), keep_output=True)


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + exp(-x)), without overflow."""
    a = float_operand("sigmoid", x)
    xp = module_of(a)
    # exp(-|x|) never overflows, and each sign of x has its own quotient of it.
    small = xp.exp(-xp.abs(a))
    out = xp.where(a >= 0, 1, small) / (1 + small)
    return record(out, (x, lambda g, y: multiply(g, multiply(y, subtract(1, y)))), keep_output=True)


def erf(x: TensorLike) -> Tensor:
    """The error function, 2 / sqrt(pi) * integral of exp(-t * t) over 0 .. x."""
    a = float_operand("erf", x)
    scale = 2 / math.sqrt(math.pi)
    return record(kernels_for(a).erf(a), (x, lambda g: multiply(g, multiply(exp(negative(square(x))), scale))))
