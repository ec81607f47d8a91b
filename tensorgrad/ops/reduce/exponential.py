"""The logarithm of a sum of exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgrad.arguments import as_flag
from tensorgrad.array import module_of
from tensorgrad.ops.broadcast import spread
from tensorgrad.ops.common import Axis, TensorLike, float_operand, normalise_axes
from tensorgrad.ops.elementwise import exp, multiply, subtract, where
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["logsumexp"]


def logsumexp(x: TensorLike, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))), without overflow; -inf for no elements, and where all are -inf, with a gradient of 0."""
    a = float_operand("logsumexp", x)
    axes, keepdims = normalise_axes("logsumexp", axis, a.ndim), as_flag("logsumexp", "keepdims", keepdims)
    xp = module_of(a)
    if 0 in (a.shape[i] for i in axes):
        out = a.sum(axis=axes, keepdims=keepdims) - math.inf
    else:
        shift = a.max(axis=axes, keepdims=True)
        shift = xp.where(xp.isfinite(shift), shift, 0).astype(a.dtype)
        total = xp.exp(a - shift).sum(axis=axes, keepdims=True, dtype=np.float64)
        # log(0) = -inf is the answer where every element is -inf, and NumPy need not warn of it.
        out = xp.log(xp.where(total == 0, 1, total)) + shift
        out = xp.where(total == 0, -math.inf, out).astype(a.dtype)
        out = out if keepdims else out.squeeze(axes)

    def vjp(g: Any, y: Any) -> Any:
        y = spread(y, a.shape, axes, keepdims)
        # In a row of -inf the difference x - y would be nan; with 0 for y, its weights are exp(-inf) = 0.
        weights = exp(subtract(x, where(data(y) != -math.inf, y, 0.0)))
        return multiply(spread(g, a.shape, axes, keepdims), weights)

    return record(out, (x, vjp), keep_output=True)
