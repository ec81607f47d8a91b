"""The affine map of the last axis, in float32 or with its products' operands rounded to bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.array import device_of
from tensorgrad.errors import ArgumentError, ShapeError, shown
from tensorgrad.kernels import gemm
from tensorgrad.ops.broadcast import reshape, sum
from tensorgrad.ops.common import TensorLike, operands, row_shape, shape_of
from tensorgrad.ops.linalg.product import matmul
from tensorgrad.ops.shape import matrix_transpose
from tensorgrad.tape import AddingVjp, data, record
from tensorgrad.tensor import Tensor


def linear(
    x: TensorLike, weight: TensorLike, bias: TensorLike | None = None, *, product_dtype: str | None = None
) -> Tensor:
    """x weight^T + bias, over the last axis.

    Args:    x (..., K); weight (N, K); bias (N,) or None, of one dtype; product_dtype: None, or "bfloat16": for
             float32 on the CPU, the operands of the three products (of the result, dx and dweight) are rounded to
             bfloat16 (8 bits of precision), and their products summed in float32.
    Returns: (..., N).
    Raises:  ShapeError, DTypeError, DeviceError, ArgumentError (product_dtype).
    Grad:    dx = g weight, dweight = g^T x, dbias = sum of g over the leading axes.
    Saves:   x, weight; with product_dtype, both rounded, in half the memory.
    """
    a, w = operands("linear", x, weight)
    if getattr(w, "ndim", 0) != 2 or not getattr(a, "ndim", 0) or a.shape[-1] != w.shape[1]:
        raise ShapeError(
            f"linear: expected x (..., K) and weight (N, K), got {shape_of(a)} and {shape_of(w)}: "
            "transpose weight if it is (K, N)"
        )
    if bias is not None:
        _, b = operands("linear", weight, bias)
        if getattr(b, "shape", None) != w.shape[:1]:
            raise ShapeError(
                f"linear: expected bias of shape {w.shape[:1]}, got {shape_of(b)}: "
                "give one value for each row of weight"
            )
    if product_dtype is not None:
        return _linear_bfloat16(x, weight, bias, product_dtype)
    rows = a.reshape(row_shape(a.shape))
    out = gemm.matmul(rows, w.T)
    if bias is not None:
        out += b
    out = out.reshape(*a.shape[:-1], w.shape[0])
    x_shape = a.shape

    def vjp_x(g: Any) -> Any:
        return reshape(matmul(reshape(g, row_shape(g.shape)), weight), x_shape)

    def vjp_weight(g: Any) -> Any:
        return matmul(matrix_transpose(reshape(g, row_shape(g.shape))), reshape(x, row_shape(x_shape)))

    def add_weight(g: Any, buffer: Any) -> None:
        gemm.add_matmul(g.reshape(row_shape(g.shape)).T, data(x).reshape(row_shape(x_shape)), buffer)

    def vjp_bias(g: Any) -> Any:
        return sum(reshape(g, row_shape(g.shape)), axis=0)

    to_weight = AddingVjp.of(vjp_weight, add_weight)
    return record(out, (x, vjp_x), (weight, to_weight), *(() if bias is None else ((bias, vjp_bias),)))


def _linear_bfloat16(x: Any, weight: Any, bias: Any, product_dtype: str) -> Tensor:
    """`linear` with operands rounded once each, for its gradient too."""
    a, w = data(x), data(weight)
    if product_dtype != "bfloat16" or a.dtype != np.float32 or not isinstance(a, np.ndarray):
        raise ArgumentError(
            f'linear: expected product_dtype "bfloat16" with float32 operands on the CPU, got {shown(product_dtype)} '
            f"with {a.dtype} on {device_of(a)}: leave it out, or convert the operands"
        )
    if problem := gemm.bfloat16_problem():
        raise ArgumentError(f"linear: expected oneDNN for product_dtype bfloat16, got {problem}: leave it out")
    x_shape, x_node, weight_node = a.shape, getattr(x, "node", None), getattr(weight, "node", None)
    rows, table = gemm.to_bfloat16(a.reshape(row_shape(x_shape))), gemm.to_bfloat16(w)
    out = gemm.matmul_bfloat16(rows, table.T)
    if bias is not None:
        out += data(bias)

    last: list[Any] = []

    def rounded(g: Any) -> Any:
        """The cotangent as rows, rounded once for both products."""
        if not last or last[0] is not g:
            last[:] = g, gemm.to_bfloat16(g.reshape(row_shape(g.shape)))
        return last[1]

    # Of a recorded cotangent in float32, of the rounded operands with the history of the given ones.
    def vjp_x(g: Any) -> Any:
        if type(g) is Tensor:
            dx: Any = matmul(reshape(g, row_shape(g.shape)), Tensor(gemm.from_bfloat16(table), weight_node))
        else:
            dx = gemm.matmul_bfloat16(rounded(g), table)
        return reshape(dx, x_shape)

    def vjp_weight(g: Any) -> Any:
        if type(g) is Tensor:
            g_T = matrix_transpose(reshape(g, row_shape(g.shape)))
            return matmul(g_T, reshape(Tensor(gemm.from_bfloat16(rows).reshape(x_shape), x_node), rows.shape))
        return gemm.matmul_bfloat16(rounded(g).T, rows)

    def add_weight(g: Any, buffer: Any) -> None:
        gemm.add_matmul(rounded(g).T, rows, buffer)

    def vjp_bias(g: Any) -> Any:
        return sum(reshape(g, row_shape(g.shape)), axis=0)

    to_weight = AddingVjp.of(vjp_weight, add_weight)
    out = out.reshape(*x_shape[:-1], w.shape[0])
    return record(out, (x, vjp_x), (weight, to_weight), *(() if bias is None else ((bias, vjp_bias),)))
