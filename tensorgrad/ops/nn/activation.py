"""Activations: relu, gelu, silu, swiglu."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.array import module_of
from tensorgrad.errors import ShapeError
from tensorgrad.kernels import kernels_for
from tensorgrad.ops.common import TensorLike, float_operand
from tensorgrad.ops.elementwise import add, erf, multiply, sigmoid, square, tanh
from tensorgrad.ops.nn.definition import through
from tensorgrad.ops.shape import split
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor


def relu(x: TensorLike) -> Tensor:
    """max(x, 0); the derivative at 0 is 0."""
    a = float_operand("relu", x)
    xp = module_of(a)
    return record(
        xp.maximum(a, 0), (x, lambda g, y: multiply(g, (~(data(y) <= 0)).astype(data(y).dtype))), keep_output=True
    )


def gelu(x: TensorLike, *, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x.

        none: x (1 + erf(x / sqrt(2))) / 2        tanh: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2

    Raises:  DTypeError; ValueError for another `approximate`.
    Saves:   x.
    Source:  Hendrycks and Gimpel, "Gaussian error linear units", 2016; tanh is GPT-2's.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: expected approximate "none" or "tanh", got {approximate!r}')
    a = float_operand("gelu", x)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return through(lambda x: gelu_definition(x, approximate), [x], g)[0]
        return kernels_for(g).gelu_gradient(g, a, approximate)

    return record(kernels_for(a).gelu(a, approximate), (x, vjp))


def gelu_definition(x: Tensor, approximate: str) -> Tensor:
    if approximate == "tanh":
        inner = multiply(add(x, multiply(multiply(square(x), x), 0.044715)), math.sqrt(2 / math.pi))
        return multiply(multiply(x, add(tanh(inner), 1)), 0.5)
    return multiply(multiply(x, add(erf(multiply(x, math.sqrt(0.5))), 1)), 0.5)


def silu(x: TensorLike) -> Tensor:
    """x sigmoid(x), also called swish. Saves x."""
    a = float_operand("silu", x)

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return through(silu_definition, [x], g)[0]
        return kernels_for(g).silu_gradient(g, a)

    return record(kernels_for(a).silu(a), (x, vjp))


def silu_definition(x: Tensor) -> Tensor:
    return multiply(x, sigmoid(x))


def swiglu(x: TensorLike) -> Tensor:
    """silu(gate) * value, where gate and value are the halves of the last axis.

    Args:    x (..., 2 F).
    Returns: (..., F).
    Raises:  ShapeError (an odd last axis), DTypeError.
    Saves:   x.
    Source:  Shazeer, "GLU variants improve transformer", 2020, equation 6.
    """
    a = float_operand("swiglu", x)
    if not a.ndim or a.shape[-1] % 2 or not a.shape[-1]:
        raise ShapeError(f"swiglu: expected a last axis of even size > 0, gate and value, got shape {a.shape}")

    def vjp(g: Any) -> Any:
        if type(g) is Tensor:
            return through(swiglu_definition, [x], g)[0]
        return kernels_for(g).swiglu_gradient(g, a)

    return record(kernels_for(a).swiglu(a), (x, vjp))


def swiglu_definition(x: Tensor) -> Tensor:
    gate, value = split(x, 2, axis=-1)
    return multiply(silu_definition(gate), value)
