"""Ops that act on each element. Binary ones broadcast; their gradients are summed back.

Each takes Tensors, arrays or Python numbers (of one dtype: nothing is converted silently) and
returns a Tensor if any operand is one. Raises ShapeError where shapes do not broadcast, DTypeError
where dtypes differ, DeviceError where devices do. An inf or nan is a result like any other; NumPy's
own warnings about it stay as the caller has set them (`numpy.errstate`).
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad import array as arrays
from tensorgrad.array import module_of
from tensorgrad.dtype import DTypeLike, as_dtype, is_float
from tensorgrad.errors import DTypeError, ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import (
    REFUSED,
    TensorLike,
    broadcast_error,
    float_operand,
    is_number,
    number_operand,
    operand,
    operands,
    shape_of,
)
from tensorgrad.ops.logic import constant, no_vjp
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = [
    "abs",
    "add",
    "astype",
    "clip",
    "cos",
    "divide",
    "erf",
    "exp",
    "expm1",
    "log",
    "log1p",
    "logaddexp",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "pow",
    "relu",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "square",
    "subtract",
    "tanh",
    "to_device",
    "where",
]

# --- arithmetic --------------------------------------------------------------------------------


def add(x: TensorLike, y: TensorLike) -> Tensor:
    """x + y."""
    a, b = operands("add", x, y)
    try:
        out = a + b
    except REFUSED:
        raise broadcast_error("add", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(out, (x, lambda g: sum_to(g, x_shape)), (y, lambda g: sum_to(g, y_shape)))


def subtract(x: TensorLike, y: TensorLike) -> Tensor:
    """x - y."""
    a, b = operands("subtract", x, y)
    try:
        out = a - b
    except REFUSED:
        raise broadcast_error("subtract", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(out, (x, lambda g: sum_to(g, x_shape)), (y, lambda g: sum_to(negative(g), y_shape)))


def multiply(x: TensorLike, y: TensorLike) -> Tensor:
    """x * y."""
    a, b = operands("multiply", x, y)
    try:
        out = a * b
    except REFUSED:
        raise broadcast_error("multiply", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(multiply(g, y), x_shape)),
        (y, lambda g: sum_to(multiply(g, x), y_shape)),
    )


def divide(x: TensorLike, y: TensorLike) -> Tensor:
    """x / y."""
    a, b = operands("divide", x, y)
    try:
        out = a / b
    except REFUSED:
        raise broadcast_error("divide", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(divide(g, y), x_shape)),
        (y, lambda g: sum_to(negative(divide(multiply(g, x), square(y))), y_shape)),
    )


def negative(x: TensorLike) -> Tensor:
    """-x."""
    return record(-number_operand("negative", x), (x, negative))


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


def square(x: TensorLike) -> Tensor:
    """x * x."""
    a = operand("square", x)
    return record(a * a, (x, lambda g: multiply(g, multiply(x, 2))))


def abs(x: TensorLike) -> Tensor:
    """|x|; the derivative at 0 is 0."""
    a = operand("abs", x)
    return record(module_of(a).abs(a), (x, lambda g: multiply(g, sign(data(x)))))


def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1; its derivative is 0."""
    a = number_operand("sign", x)
    return constant(module_of(a).sign(a), x)


# --- exponentials and logarithms ---------------------------------------------------------------


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


# --- trigonometric and hyperbolic --------------------------------------------------------------


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


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    a = float_operand("tanh", x)
    return record(module_of(a).tanh(a), (x, lambda g, y: multiply(g, subtract(1, square(y)))), keep_output=True)


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


# --- choices -----------------------------------------------------------------------------------


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


def relu(x: TensorLike) -> Tensor:
    """max(x, 0); the derivative at 0 is 0."""
    a = float_operand("relu", x)
    xp = module_of(a)
    return record(
        xp.maximum(a, 0), (x, lambda g, y: multiply(g, (data(y) > 0).astype(data(y).dtype))), keep_output=True
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


# --- between dtypes and devices ----------------------------------------------------------------


def astype(x: TensorLike, dtype: DTypeLike) -> Tensor:
    """x converted to `dtype`; the gradient is converted back. To an integer dtype: a constant."""
    a = operand("astype", x)
    target = as_dtype(dtype)
    out = a.astype(target, copy=False)
    if not is_float(target):
        return constant(out, x)
    source = a.dtype
    return record(out, (x, lambda g: astype(g, source)))


def to_device(x: TensorLike, device: str) -> Tensor:
    """x on `device`; the gradient travels back."""
    a = operand("to_device", x)
    home = arrays.device_of(a)
    return record(arrays.to_device(a, device), (x, lambda g: to_device(g, home)))
