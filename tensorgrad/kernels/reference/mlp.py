"""The part of an MLP between its two products: a bias and an activation, and their gradients."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.dtype import accumulation_dtype
from tensorgrad.kernels.bfloat16 import rounded_to_bfloat16
from tensorgrad.kernels.reference.activation import gelu, gelu_and_slope, sigmoid, silu_slope, swiglu
from tensorgrad.kernels.reference.blocks import add_in_order, for_blocks, wide

__all__ = ["mlp_activation", "mlp_activation_gradient"]


def mlp_activation(x_NG: Array, bias_G: Array | None, activation: str, is_rounded: bool) -> Array:
    if bias_G is not None:
        x_NG += bias_G
    if activation == "swiglu":
        y_NF = swiglu(x_NG)
    elif activation == "relu_squared":
        y_NF = module_of(x_NG).maximum(x_NG, 0)
        y_NF *= y_NF
    else:
        y_NF = gelu(x_NG, _approximate(activation))
    return rounded_to_bfloat16(y_NF) if is_rounded else y_NF


def mlp_activation_gradient(
    g_NF: Array, x_NG: Array, activation: str, is_rounded: bool, has_bias: bool
) -> tuple[Array, Array, Array | None]:
    width = g_NF.shape[1]
    xp = module_of(x_NG)
    y_NF, dx_NG = g_NF, xp.empty(x_NG.shape, x_NG.dtype)

    def work(rows: slice) -> Array | None:
        g, x = g_NF[rows], wide(x_NG[rows])
        if activation == "swiglu":
            gate, value = x[:, :width], x[:, width:]
            s = sigmoid(gate)
            dx = xp.empty(x.shape, x.dtype)
            dgate, dvalue = dx[:, :width], dx[:, width:]
            dgate[...] = silu_slope(gate, s)
            dgate *= value
            dgate *= g
            s *= gate
            xp.multiply(s, g, out=dvalue)
            y = xp.multiply(s, value, out=s)
        elif activation == "relu_squared":
            y = xp.maximum(x, 0)
            dx = 2 * y
            dx *= g
            y *= y
        else:
            y, dx = gelu_and_slope(x, _approximate(activation))
            dx *= g
        dx_NG[rows] = dx
        y_NF[rows] = y
        return dx.sum(axis=0) if has_bias else None

    with np.errstate(over="ignore"):
        parts = [part for part in for_blocks(x_NG, work) if part is not None]
    dbias_G = add_in_order(parts, x_NG, accumulation_dtype(x_NG.dtype)) if has_bias else None
    if is_rounded:
        return rounded_to_bfloat16(y_NF), rounded_to_bfloat16(dx_NG), dbias_G
    return y_NF, dx_NG, dbias_G


def _approximate(activation: str) -> str:
    """The argument of `gelu` for this activation."""
    return "tanh" if activation == "gelu_tanh" else "none"
