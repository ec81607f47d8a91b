"""The cross-entropy of logits that are a product, fused: the logits stay inside, so backward may overwrite them."""

from __future__ import annotations

from typing import Any

from tensorgrad.cotangent import Request
from tensorgrad.errors import GraphError, ShapeError
from tensorgrad.kernels import gemm
from tensorgrad.ops.common import TensorLike, float_operand, operand, operands, row_shape, shape_of
from tensorgrad.ops.linalg.linear import gradient_of_weight, linear
from tensorgrad.ops.linalg.operand import check_product_dtype, mixed_operands, rounded_inputs
from tensorgrad.ops.nn.cross_entropy import (
    check_classes,
    checked_options,
    cross_entropy_definition,
    losses_and_gradient,
)
from tensorgrad.ops.nn.definition import definition_vjp
from tensorgrad.rounding import rounded
from tensorgrad.tape import is_last_backward, record_joint
from tensorgrad.tensor import Tensor

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    x: TensorLike,
    weight: TensorLike,
    targets: Any,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    product_dtype: str | None = None,
) -> Tensor:
    """cross_entropy(linear(x, weight), targets): the same numbers in less memory.

    No other op sees the logits, so a backward that frees the graph writes their gradient over them: these two arrays,
    a model's largest, never exist at once.

    Args:    x (..., K), weight (V, K), product_dtype: as for `linear`; targets (...): integers in 0 .. V - 1, or
             `ignore_index`; the other options as for `cross_entropy`.
    Returns: as `cross_entropy`.
    Raises:  ShapeError, DTypeError, DeviceError, ArgumentError; GraphError, if an earlier backward freed the graph
             or was cut short while it wrote over the logits.
    Grad:    with the dlogits of `cross_entropy`: dx = dlogits weight, dweight = dlogits^T x.
    Saves:   x, weight, the logits, a few values per row. With product_dtype x and weight are saved rounded, in half the
             memory, and dlogits exists only in its rounded form.
    """
    op = "linear_cross_entropy"
    label_smoothing, z_loss = checked_options(op, label_smoothing, z_loss, reduction)
    float_operand(op, x)
    a, table = mixed_operands(op, x, weight) or operands(op, x, weight)
    if not a.ndim or getattr(table, "ndim", 0) != 2 or a.shape[-1] != table.shape[1]:
        raise ShapeError(
            f"{op}: expected x (..., K) and weight (V, K), got {a.shape} and {shape_of(table)}: "
            "transpose weight if it is (K, V)"
        )
    ids = operand(op, targets)
    logits_shape = (*a.shape[:-1], table.shape[0])
    check_classes(op, a, logits_shape, ids, len(logits_shape) - 1, ignore_index)
    x_shape, rows, wide = a.shape, a.reshape(row_shape(a.shape)), table.dtype
    inputs, is_rounded = [x, weight], product_dtype is not None
    if is_rounded:
        check_product_dtype(op, a, product_dtype)
        rows, table = gemm.to_bfloat16(rows), gemm.to_bfloat16(table)
        recorded = rounded_inputs(inputs, [rows, table])
    else:
        table, recorded = rounded(table, a.dtype), lambda: inputs
    options = (None, ignore_index, label_smoothing, z_loss, reduction)
    logits_NV = gemm.affine(rows, table.T, None)
    out, gradient = losses_and_gradient(logits_NV, ids, *options)
    is_spent = False

    def vjp(g: Any, requests: list[Request | None]) -> list[Any]:
        nonlocal is_spent
        if type(g) is Tensor:  # this computes logits of its own
            return definition_vjp(
                lambda x, w: cross_entropy_definition(linear(x, w), ids, *options), recorded(), g, requests
            )
        if is_spent:
            raise GraphError(
                "backward: expected the logits that linear_cross_entropy was computed from, got what an earlier "
                "backward, cut short by an error, wrote over them: compute the loss again"
            )
        is_spent = is_last_backward()
        g_NV = gradient(g, out_NV=logits_NV if is_spent else None, is_rounded=is_rounded)
        to_x, to_weight = requests
        dx = dweight = None
        if to_weight:
            dweight, _ = gradient_of_weight(g_NV, rows, wide, to_weight, has_sums=False)
        if to_x:
            dx = gemm.affine(g_NV, table, None).reshape(x_shape)
        return [dx, dweight]

    return record_joint(out, inputs, vjp, selects=True)
