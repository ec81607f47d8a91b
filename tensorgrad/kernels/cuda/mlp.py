"""What an MLP does between its products."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda.activation import gelu, gelu_gradient, swiglu, swiglu_gradient
from tensorgrad.kernels.cuda.operand import wide_dtype

__all__ = ["mlp_activation", "mlp_activation_gradient"]


def mlp_activation(x_NG: Array, bias_G: Array | None, activation: str, is_rounded: bool) -> Array:
    if activation == "relu_squared":
        return reference.mlp_activation(x_NG, bias_G, activation, is_rounded)
    if bias_G is not None:
        x_NG += bias_G
    return swiglu(x_NG) if activation == "swiglu" else gelu(x_NG, _approximate(activation))


def mlp_activation_gradient(
    g_NF: Array, x_NG: Array, activation: str, is_rounded: bool, has_bias: bool
) -> tuple[Array, Array, Array | None]:
    if activation == "relu_squared":
        return reference.mlp_activation_gradient(g_NF, x_NG, activation, is_rounded, has_bias)
    y_NF = mlp_activation(x_NG, None, activation, is_rounded)
    if activation == "swiglu":
        dx_NG = swiglu_gradient(g_NF, x_NG)
    else:
        dx_NG = gelu_gradient(g_NF, x_NG, _approximate(activation))
    return y_NF, dx_NG, dx_NG.sum(axis=0, dtype=np.dtype(wide_dtype(x_NG))) if has_bias else None


def _approximate(activation: str) -> str:
    """How `gelu` calls it."""
    return "tanh" if activation == "gelu_tanh" else "none"
