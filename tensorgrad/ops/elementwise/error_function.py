"""The error function and its complement."""

from __future__ import annotations

import math

from tensorgrad.kernels import kernels_for
from tensorgrad.ops.common import TensorLike, float_operand
from tensorgrad.ops.elementwise.arithmetic import multiply, negative, square
from tensorgrad.ops.elementwise.exponential import exp
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["erf"]


def erf(x: TensorLike) -> Tensor:
    """The error function, 2 / sqrt(pi) * integral of exp(-t * t) over 0 .. x."""
    a = float_operand("erf", x)
    scale = 2 / math.sqrt(math.pi)
    return record(kernels_for(a).erf(a), (x, lambda g: multiply(g, multiply(exp(negative(square(x))), scale))))
