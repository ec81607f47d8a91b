"""The part of an MLP between its products: the activation; and its gradient, with the activation again."""

from __future__ import annotations

import numpy as np

from tensorgrad.array import Array, module_of
from tensorgrad.kernels.cuda.activation import gelu, launch_elementwise, relu_squared, swiglu
from tensorgrad.kernels.cuda.operand import dense, wide_dtype

__all__ = ["mlp_activation", "mlp_activation_gradient"]


def mlp_activation(x_NG: Array, bias_G: Array | None, activation: str, is_rounded: bool) -> Array:
    if bias_G is not None:
        x_NG += bias_G
    match activation:
        case "swiglu":
            return swiglu(x_NG)
        case "relu_squared":
            return relu_squared(x_NG)
        case _:
            return gelu(x_NG, "tanh" if activation == "gelu_tanh" else "none")


def mlp_activation_gradient(
    g_NF: Array, x_NG: Array, activation: str, is_rounded: bool, has_bias: bool
) -> tuple[Array, Array, Array | None]:
    g_NF, x_NG = dense(g_NF), dense(x_NG)
    dx_NG = module_of(x_NG).empty(x_NG.shape, x_NG.dtype)
    is_gated = activation == "swiglu"
    width = g_NF.shape[1] if is_gated else g_NF.size
    sizes = map(np.int64, (g_NF.size, width)[: 1 + is_gated])
    launch_elementwise(f"{activation}_again", g_NF.size, width, (g_NF, x_NG, dx_NG), *sizes)
    return g_NF, dx_NG, dx_NG.sum(axis=0, dtype=np.dtype(wide_dtype(x_NG))) if has_bias else None
