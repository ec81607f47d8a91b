"""Trigonometric and hyperbolic functions."""

from __future__ import annotations

from tensorgrad.array import module_of
from tensorgrad.ops.common import TensorLike, float_operand
from tensorgrad.ops.elementwise.arithmetic import multiply, negative, square, subtract
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["cos", "sin", "tanh"]


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
