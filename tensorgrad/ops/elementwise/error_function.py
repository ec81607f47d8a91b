"""The error function and its complement."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.kernels import kernels_for
from tensorgrad.kernels.reference.blocks import precisely
from tensorgrad.kernels.reference.error_function import exp_minus_square
from tensorgrad.ops.common import TensorLike, float_operand
from tensorgrad.ops.elementwise.arithmetic import multiply
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["erf", "erfc"]

_SCALE = 2 / math.sqrt(math.pi)


def erf(x: TensorLike) -> Tensor:
    """The error function, 2 / sqrt(pi) * integral of exp(-t * t) over 0 .. x."""
    a = float_operand("erf", x)
    return record(kernels_for(a).erf(a), (x, lambda g: multiply(g, multiply(_bell(x), _SCALE))))


def erfc(x: TensorLike) -> Tensor:
    """1 - erf(x), accurate relative to its own size where it is small."""
    a = float_operand("erfc", x)
    return record(kernels_for(a).erfc(a), (x, lambda g: multiply(g, multiply(_bell(x), -_SCALE))))


def _bell(x: Any) -> Any:
    """exp(-x * x); composed of ops it would lose precision where x * x is large."""
    out = precisely(exp_minus_square, data(x))
    return record(out, (x, lambda g, y: multiply(g, multiply(multiply(y, x), -2))), keep_output=True)
