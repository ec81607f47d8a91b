"""Sums, products and quotients, and the sign."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.array import module_of
from tensorgrad.ops.broadcast import sum_to
from tensorgrad.ops.common import (
    REFUSED,
    TensorLike,
    broadcast_error,
    float_operand,
    number_operand,
    operands,
    shape_of,
    weak,
)
from tensorgrad.ops.logic import constant
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["abs", "add", "divide", "multiply", "negative", "positive", "reciprocal", "sign", "square", "subtract"]


# Small programs spend most of their time in sums and products, so these make few objects: a vjp keeps what it saves
# in default arguments, and `shape_of` is written out.


def add(x: TensorLike, y: TensorLike) -> Tensor:
    """x + y."""
    a, b = operands("add", x, y)
    try:
        out = a + b
    except REFUSED:
        raise broadcast_error("add", a, b) from None
    x_shape, y_shape = getattr(a, "shape", ()), getattr(b, "shape", ())
    return record(
        out,
        (x, lambda g, shape=x_shape: sum_to(g, shape)),
        (y, lambda g, shape=y_shape: sum_to(g, shape)),
    )


def subtract(x: TensorLike, y: TensorLike) -> Tensor:
    """x - y."""
    a, b = operands("subtract", x, y)
    try:
        out = a - b
    except REFUSED:
        raise broadcast_error("subtract", a, b) from None
    x_shape, y_shape = getattr(a, "shape", ()), getattr(b, "shape", ())
    return record(
        out,
        (x, lambda g, shape=x_shape: sum_to(g, shape)),
        (y, lambda g, shape=y_shape: sum_to(negative(g), shape)),
    )


def multiply(x: TensorLike, y: TensorLike) -> Tensor:
    """x * y."""
    a, b = operands("multiply", x, y)
    try:
        out = a * b
    except REFUSED:
        raise broadcast_error("multiply", a, b) from None
    x_shape, y_shape = getattr(a, "shape", ()), getattr(b, "shape", ())
    return record(
        out,
        (x, lambda g, y=y, shape=x_shape: product_to(g, y, shape)),
        (y, lambda g, x=x, shape=y_shape: product_to(g, x, shape)),
    )


def product_to(g: Any, y: TensorLike, shape: tuple[int, ...]) -> Any:
    """sum_to(multiply(g, y), shape); arrays are not checked, as this is the most common step of a backward."""
    if type(g) is Tensor:
        return sum_to(multiply(g, y), shape)
    product = g * (y.array if type(y) is Tensor else weak(y, g) if type(y) is float else y)
    if isinstance(product, np.generic):
        product = np.asarray(product)
    return product if product.shape == shape else sum_to(product, shape)


def divide(x: TensorLike, y: TensorLike) -> Tensor:
    """x / y; integers give float64."""
    a, b = operands("divide", x, y)
    try:
        out = a / b
    except REFUSED:
        raise broadcast_error("divide", a, b) from None
    x_shape, y_shape = shape_of(a), shape_of(b)
    return record(
        out,
        (x, lambda g: sum_to(divide(g, y), x_shape)),
        # x / y / y, as y * y could overflow where this does not
        (y, lambda g: sum_to(negative(multiply(g, divide(divide(x, y), y))), y_shape)),
    )


def reciprocal(x: TensorLike) -> Tensor:
    """1 / x."""
    a = float_operand("reciprocal", x)
    return record(1 / a, (x, lambda g, y: negative(multiply(g, square(y)))), keep_output=True)


def negative(x: TensorLike) -> Tensor:
    """-x."""
    return record(-number_operand("negative", x), (x, negative))


def positive(x: TensorLike) -> Tensor:
    """+x, a copy of x."""
    return record(+number_operand("positive", x), (x, lambda g: g))


def square(x: TensorLike) -> Tensor:
    """x * x."""
    a = number_operand("square", x)
    return record(a * a, (x, lambda g: multiply(g, multiply(x, 2))))


def abs(x: TensorLike) -> Tensor:
    """|x|; the derivative is 0 at 0, and at nan."""
    a = number_operand("abs", x)
    xp = module_of(a)
    return record(xp.abs(a), (x, lambda g: multiply(g, xp.subtract(a > 0, a < 0, dtype=a.dtype))))


def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1, and nan for nan; a constant to gradients."""
    a = number_operand("sign", x)
    return constant(module_of(a).sign(a), x)
