"""Exponentials, logarithms, powers and roots."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.array import Array, is_array, module_of
from tensorgrad.kernels.reference.blocks import precisely
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import (
    REFUSED,
    TensorLike,
    broadcast_error,
    combined,
    float_operand,
    float_operands,
    operands,
    shape_of,
)
from tensorgrad.ops.elementwise.arithmetic import add, divide, multiply, negative, square, subtract
from tensorgrad.ops.elementwise.choice import where
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "logaddexp", "pow", "rsqrt", "sigmoid", "sqrt"]


def exp(x: TensorLike) -> Tensor:
    """e ** x."""
    a = float_operand("exp", x)
    out = module_of(a).exp(a)
    return record(out, (x, lambda g, y: multiply(g, y)), keep_output=True)


def exp2(x: TensorLike) -> Tensor:
    """2 ** x."""
    a = float_operand("exp2", x)
    out = module_of(a).exp2(a)
    return record(out, (x, lambda g, y: multiply(g, multiply(y, math.log(2)))), keep_output=True)


def expm1(x: TensorLike) -> Tensor:
    """exp(x) - 1, exact near 0."""
    a = float_operand("expm1", x)
    # exp(x), not out + 1, which loses a small exp(x)
    return record(module_of(a).expm1(a), (x, lambda g: multiply(g, exp(x))))


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


def log2(x: TensorLike) -> Tensor:
    """The logarithm to base 2: -inf at 0, nan below."""
    a = float_operand("log2", x)
    return record(module_of(a).log2(a), (x, lambda g: divide(g, multiply(x, math.log(2)))))


def log10(x: TensorLike) -> Tensor:
    """The logarithm to base 10: -inf at 0, nan below."""
    a = float_operand("log10", x)
    return record(module_of(a).log10(a), (x, lambda g: divide(g, multiply(x, math.log(10)))))


def logaddexp(x: TensorLike, y: TensorLike) -> Tensor:
    """log(exp(x) + exp(y)), without overflow. The derivatives are nan where x = y = inf or -inf."""
    a, b = float_operands("logaddexp", x, y)
    out = combined("logaddexp", "logaddexp", a, b)
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(multiply(g, sigmoid(subtract(x, y))), x_shape)),
        (y, lambda g: sum_to(multiply(g, sigmoid(subtract(y, x))), y_shape)),
    )


def pow(x: TensorLike, y: TensorLike) -> Tensor:
    """x ** y; integers need y >= 0.

    Grad:    dx = y x ** (y - 1) g, 0 where y = 0; dy = out log(x) g, 0 where x = 0 <= y.
    """
    a, b = operands("pow", x, y)
    try:
        out = a**b
    except REFUSED:
        raise broadcast_error("pow", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    a, b = _as_given(x, a), _as_given(y, b)

    def vjp_x(g: Any) -> Any:
        if is_array(b):
            # x ** (y - 1) is infinite at x = 0, y = 0, where the factor y makes the derivative 0.
            slope = where(b == 0, 0.0, multiply(y, pow(x, where(b == 0, 1.0, subtract(y, 1)))))
        else:
            slope = multiply(pow(x, b - 1), b) if b != 0 else module_of(a).zeros_like(a)
        return sum_to(multiply(g, slope), x_shape)

    def vjp_y(g: Any) -> Any:
        log_x: Any
        if is_array(a):
            is_zero = (a == 0) & (b >= 0)
            log_x = log(where(is_zero, 1.0, x))
        elif a == 0:
            log_x = where(b >= 0, module_of(b).zeros_like(b), -math.inf)
        else:
            log_x = math.log(a) if a > 0 else math.nan
        return sum_to(multiply(g, multiply(pow(x, y), log_x)), y_shape)

    return record(out, (x, vjp_x), (y, vjp_y))


def _as_given(x: Any, value: Any) -> Any:
    """The Python number that an operand was given as, else its value."""
    return x if type(x) is float else value


def sqrt(x: TensorLike) -> Tensor:
    """The square root; its derivative is inf at 0, -inf at -0."""
    a = float_operand("sqrt", x)
    out = module_of(a).sqrt(a)
    return record(out, (x, lambda g, y: divide(g, multiply(y, 2))), keep_output=True)


def rsqrt(x: TensorLike) -> Tensor:
    """1 / sqrt(x)."""
    a = float_operand("rsqrt", x)
    out = 1 / module_of(a).sqrt(a)
    return record(out, (x, lambda g, y: multiply(g, multiply(multiply(y, square(y)), -0.5))), keep_output=True)


def sigmoid(x: TensorLike) -> Tensor:
    """1 / (1 + exp(-x)), without overflow, accurate relative to its own size where it is small."""
    a = float_operand("sigmoid", x)
    # sigmoid(-x), not 1 - out, which loses its digits where out is nearly 1
    return record(
        precisely(_sigmoid, a), (x, lambda g, y: multiply(g, multiply(y, sigmoid(negative(x))))), keep_output=True
    )


def _sigmoid(t: Array) -> Array:
    xp = module_of(t)
    e = xp.exp(xp.minimum(t, 40))  # from there on the result is 1
    return e / (e + 1)  # type: ignore[no-any-return]
