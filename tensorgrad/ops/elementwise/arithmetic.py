"""Sums, products and quotients, and the sign."""

from __future__ import annotations

from tensorgrad.array import module_of
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import REFUSED, TensorLike, broadcast_error, number_operand, operand, operands, shape_of
from tensorgrad.ops.logic import constant
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["abs", "add", "divide", "multiply", "negative", "sign", "square", "subtract"]


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
