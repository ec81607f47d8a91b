"""A feed-forward layer: two affine maps with an activation between them, fused."""

from __future__ import annotations

from typing import Any

from tensorgrad.arguments import check_option
from tensorgrad.array import Array
from tensorgrad.cotangent import Request
from tensorgrad.errors import ShapeError
from tensorgrad.kernels import gemm, kernels_for
from tensorgrad.ops.common import TensorLike, float_operand, operands, row_shape, shape_of
from tensorgrad.ops.elementwise import square
from tensorgrad.ops.linalg.linear import gradient_of_weight, linear
from tensorgrad.ops.linalg.operand import check_product_dtype, mixed_operands, rounded_inputs
from tensorgrad.ops.nn.activation import gelu, relu, swiglu
from tensorgrad.ops.nn.definition import definition_vjp
from tensorgrad.rounding import rounded
from tensorgrad.tape import is_recording, record_joint
from tensorgrad.tensor import Tensor

__all__ = ["mlp"]

ACTIVATIONS = ("gelu", "gelu_tanh", "relu_squared", "swiglu")


def mlp(
    x: TensorLike,
    up_weight: TensorLike,
    down_weight: TensorLike,
    up_bias: TensorLike | None = None,
    down_bias: TensorLike | None = None,
    *,
    activation: str = "gelu_tanh",
    product_dtype: str | None = None,
) -> Tensor:
    """activation(x up_weight^T + up_bias) down_weight^T + down_bias, over the last axis.

    Args:    x (..., C); up_weight (F, C), down_weight (N, F), up_bias (F,), down_bias (N,); for "swiglu" up_weight
             (2 F, C) and up_bias (2 F,), the gate's rows first. Dtypes and product_dtype: as for `linear`.
             activation: "gelu", "gelu_tanh", "relu_squared" (max(h, 0)^2) or "swiglu".
    Returns: (..., N), of the dtype of x.
    Raises:  ShapeError, DTypeError, DeviceError, ArgumentError (activation, product_dtype).
    Grad:    with h = x up_weight^T + up_bias and a = activation(h):
             ddown = g^T a, dh = activation'(h) (g down_weight), dup = dh^T x, dx = dh up_weight; biases by sums.
    Saves:   x and h; not a, which the pass that computes dh computes again. With product_dtype x is saved rounded, in
             half the memory, and a and dh exist only in their rounded form.
    """
    check_option("mlp", "activation", activation, *ACTIVATIONS)
    inputs = [x, up_weight, down_weight, up_bias, down_bias]
    a, up_GC, down_NF, up_bias_G, down_bias_N = _checked(*inputs, activation=activation)
    x_shape, narrow, wide = a.shape, a.dtype, up_GC.dtype
    x_RC, is_rounded = a.reshape(row_shape(x_shape)), product_dtype is not None
    if is_rounded:
        check_product_dtype("mlp", a, product_dtype)
        x_RC, up_GC, down_NF = map(gemm.to_bfloat16, (x_RC, up_GC, down_NF))
        recorded = rounded_inputs(inputs, [x_RC, up_GC, down_NF, up_bias_G, down_bias_N])
    else:
        up_GC, down_NF, recorded = rounded(up_GC, narrow), rounded(down_NF, narrow), lambda: inputs
    kernels = kernels_for(a)
    # On a device the products add biases and sum their gradients; on the CPU the passes between them do.
    is_on_device = gemm.sums_beside_products(a)
    biases = [None if b is None else rounded(b, narrow) for b in (up_bias_G, down_bias_N)]
    is_needed = any(getattr(z, "node", None) is not None for z in inputs)
    keeps_h, is_gelu_tanh = is_recording() and is_needed, activation == "gelu_tanh"
    both = gemm.affine_gelu(x_RC, up_GC.T, biases[0], keeps_input=keeps_h) if is_gelu_tanh else None
    h_RG: Any
    if both is not None:
        h_RG, a_RF = both
    else:
        h_RG = gemm.affine(x_RC, up_GC.T, biases[0] if is_on_device else None)
        a_RF = kernels.mlp_activation(h_RG, None if is_on_device else biases[0], activation, is_rounded)
        h_RG = h_RG if keeps_h else None
    out = gemm.affine(a_RF, down_NF.T, biases[1]).reshape(*x_shape[:-1], down_NF.shape[0])
    del a_RF

    def vjp(g: Any, requests: list[Request | None]) -> list[Any]:
        if type(g) is Tensor:
            return definition_vjp(lambda *xs: mlp_definition(*xs, activation=activation), recorded(), g, requests)
        to_x, to_up, to_down, to_up_bias, to_down_bias = requests
        dh_RG: Any
        dx = dup = ddown = dup_bias = ddown_bias = a_RF = dh_RG = None
        g_RN = exact_RN = g.reshape(row_shape(g.shape))
        if is_rounded:
            g_RN = gemm.to_bfloat16(g_RN)
        if to_x or to_up or to_up_bias:
            dh_RG = gemm.matmul_gelu_gradient(g_RN, down_NF, h_RG) if is_gelu_tanh else None
            if dh_RG is None:
                needs_sums = to_up_bias is not None and not is_on_device
                a_RF, dh_RG, dup_bias = kernels.mlp_activation_gradient(
                    gemm.affine(g_RN, down_NF, None), h_RG, activation, is_rounded, needs_sums
                )
        if to_down:
            if a_RF is None:
                a_RF = kernels.mlp_activation(h_RG, None, activation, is_rounded)
            has_sums = is_on_device and to_down_bias is not None
            ddown, ddown_bias = gradient_of_weight(g_RN, a_RF, wide, to_down, has_sums=has_sums)
        del a_RF
        if to_down_bias and ddown_bias is None:
            ddown_bias = kernels.column_sums(exact_RN, wide)
        if to_up:
            has_sums = is_on_device and to_up_bias is not None
            dup, sums = gradient_of_weight(dh_RG, x_RC, wide, to_up, has_sums=has_sums)
            dup_bias = dup_bias if sums is None else sums
        if to_up_bias and dup_bias is None:
            dup_bias = kernels.column_sums(dh_RG, wide)
        if to_x:
            dx = gemm.affine(dh_RG, up_GC, None).reshape(x_shape)
        return [dx, dup, ddown, None if dup_bias is None else dup_bias.astype(wide, copy=False), ddown_bias]

    return record_joint(out, inputs, vjp, selects=True)


def mlp_definition(
    x: Tensor,
    up_weight: Tensor,
    down_weight: Tensor,
    up_bias: Tensor | None = None,
    down_bias: Tensor | None = None,
    *,
    activation: str,
) -> Tensor:
    h = linear(x, up_weight, up_bias)
    match activation:
        case "swiglu":
            h = swiglu(h)
        case "relu_squared":
            h = square(relu(h))
        case _:
            h = gelu(h, approximate="tanh" if activation == "gelu_tanh" else "none")
    return linear(h, down_weight, down_bias)


def _checked(
    x: Any, up_weight: Any, down_weight: Any, up_bias: Any, down_bias: Any, *, activation: str
) -> tuple[Array, Array, Array, Array | None, Array | None]:
    """The operands' arrays. Raises ShapeError if they do not fit one another."""
    float_operand("mlp", x)
    a, up = mixed_operands("mlp", x, up_weight) or operands("mlp", x, up_weight)
    down = operands("mlp", up_weight, down_weight)[1]
    factor = 2 if activation == "swiglu" else 1
    if (
        not (a.ndim and getattr(up, "ndim", 0) == getattr(down, "ndim", 0) == 2)
        or a.shape[-1] != up.shape[1]
        or up.shape[0] != factor * down.shape[1]
        or (factor == 2 and not down.shape[1])
    ):
        rows = "2 F" if factor == 2 else "F"
        raise ShapeError(
            f"mlp: expected x (..., C), up_weight ({rows}, C) and down_weight (N, F), "
            f"got {a.shape}, {shape_of(up)} and {shape_of(down)}: transpose a weight that is the other way round"
        )
    biases: list[Array | None] = []
    for name, weight, bias, size in (
        ("up_bias", up_weight, up_bias, len(up)),
        ("down_bias", down_weight, down_bias, len(down)),
    ):
        biases.append(None if bias is None else operands("mlp", weight, bias)[1])
        if bias is not None and shape_of(biases[-1]) != (size,):
            raise ShapeError(
                f"mlp: expected {name} of shape ({size},), got {shape_of(bias)}: give a value a row of its weight"
            )
    return a, up, down, biases[0], biases[1]
