"""The affine map of the last axis; its products may take 16-bit floats where parameters are float32."""

from __future__ import annotations

from typing import Any

from tensorgrad.errors import ShapeError
from tensorgrad.kernels import gemm
from tensorgrad.ops.broadcast import reshape, sum
from tensorgrad.ops.common import TensorLike, operands, row_shape, shape_of
from tensorgrad.ops.convert import astype
from tensorgrad.ops.linalg.operand import check_product_dtype, mixed_operands
from tensorgrad.ops.linalg.product import matmul
from tensorgrad.ops.shape import matrix_transpose
from tensorgrad.rounding import rounded
from tensorgrad.tape import AddingVjp, data, record
from tensorgrad.tensor import Tensor


def linear(
    x: TensorLike, weight: TensorLike, bias: TensorLike | None = None, *, product_dtype: str | None = None
) -> Tensor:
    """x weight^T + bias, over the last axis.

    Args:    x (..., K); weight (N, K); bias (N,) or None, of one dtype; or x of a 16-bit float with weight and bias of
             float32, which are rounded to the dtype of x. product_dtype: None, or "bfloat16": for
             float32 on the CPU, the operands of the three products (of the result, dx and dweight) are rounded to
             bfloat16 (8 bits of precision), and their products summed in float32.
    Returns: (..., N), of the dtype of x.
    Raises:  ShapeError, DTypeError, DeviceError, ArgumentError (product_dtype).
    Grad:    dx = g weight, dweight = g^T x, dbias = sum of g over the leading axes. Of float32 parameters and a 16-bit
             x, dweight and dbias are sums of the 16-bit values in float32, never rounded to 16 bits.
    Saves:   x, weight as rounded; with product_dtype, both rounded, in half the memory.
    """
    a, w = mixed_operands("linear", x, weight) or operands("linear", x, weight)
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
    x_shape, narrow, wide = a.shape, a.dtype, w.dtype
    rows = a.reshape(row_shape(x_shape))
    is_mixed = narrow != wide
    table = rounded(w, narrow)
    out = gemm.affine(rows, table.T, None if bias is None else rounded(b, narrow))
    has_sums = getattr(bias, "node", None) is not None and gemm.sums_beside_products(a)
    sums: list[Any] = []  # the last cotangent that weight's gradient was computed from, and the sums of its columns

    def x_rows() -> Any:
        return data(x).reshape(row_shape(x_shape))

    def vjp_x(g: Any) -> Any:
        if is_mixed:
            factor: Any = astype(weight, narrow) if type(g) is Tensor else table
        else:
            factor = weight
        return reshape(matmul(reshape(g, row_shape(g.shape)), factor), x_shape)

    def vjp_weight(g: Any) -> Any:
        if type(g) is Tensor or not (is_mixed or has_sums):
            g_NR = matrix_transpose(reshape(g, row_shape(g.shape)))
            x_RK: Any = reshape(x, row_shape(x_shape))
            return matmul(astype(g_NR, wide), astype(x_RK, wide)) if is_mixed else matmul(g_NR, x_RK)
        g_NR = g.reshape(row_shape(g.shape)).T
        if not has_sums:
            return gemm.matmul_in(g_NR, x_rows(), wide)
        product, summed = gemm.matmul_with_sums(g_NR, x_rows(), wide)
        sums[:] = g, summed
        return product

    def add_weight(g: Any, buffer: Any) -> None:
        g_NR = g.reshape(row_shape(g.shape)).T
        if has_sums:
            sums[:] = g, gemm.matmul_with_sums(g_NR, x_rows(), wide, buffer)[1]
        else:
            gemm.add_matmul(g_NR, x_rows(), buffer)

    def vjp_bias(g: Any) -> Any:
        if sums and sums[0] is g:
            summed = sums[1]
            sums.clear()
            return summed
        g_RN = reshape(g, row_shape(g.shape))
        return sum(astype(g_RN, wide) if is_mixed else g_RN, axis=0)

    to_weight = AddingVjp.of(vjp_weight, add_weight)
    out = out.reshape(*x_shape[:-1], w.shape[0])
    return record(out, (x, vjp_x), (weight, to_weight), *(() if bias is None else ((bias, vjp_bias),)))


def _linear_bfloat16(x: Any, weight: Any, bias: Any, product_dtype: str) -> Tensor:
    """`linear` with operands rounded once each, for its gradient too."""
    a, w = data(x), data(weight)
    check_product_dtype("linear", a, product_dtype)
    x_shape, x_node, weight_node = a.shape, getattr(x, "node", None), getattr(weight, "node", None)
    rows, table = gemm.to_bfloat16(a.reshape(row_shape(x_shape))), gemm.to_bfloat16(w)
    out = gemm.affine(rows, table.T, data(bias))
    last: list[Any] = []

    def rounded_rows(g: Any) -> Any:
        """The cotangent as rows, rounded once for both products."""
        if not last or last[0] is not g:
            last[:] = g, gemm.to_bfloat16(g.reshape(row_shape(g.shape)))
        return last[1]

    # Of a recorded cotangent in float32, of the rounded operands with the history of the given ones.
    def vjp_x(g: Any) -> Any:
        if type(g) is Tensor:
            dx: Any = matmul(reshape(g, row_shape(g.shape)), Tensor(gemm.from_bfloat16(table), weight_node))
        else:
            dx = gemm.matmul_bfloat16(rounded_rows(g), table)
        return reshape(dx, x_shape)

    def vjp_weight(g: Any) -> Any:
        if type(g) is Tensor:
            g_T = matrix_transpose(reshape(g, row_shape(g.shape)))
            return matmul(g_T, reshape(Tensor(gemm.from_bfloat16(rows).reshape(x_shape), x_node), rows.shape))
        return gemm.matmul_bfloat16(rounded_rows(g).T, rows)

    def add_weight(g: Any, buffer: Any) -> None:
        gemm.add_matmul(rounded_rows(g).T, rows, buffer)

    def vjp_bias(g: Any) -> Any:
        return sum(reshape(g, row_shape(g.shape)), axis=0)

    to_weight = AddingVjp.of(vjp_weight, add_weight)
    out = out.reshape(*x_shape[:-1], w.shape[0])
    return record(out, (x, vjp_x), (weight, to_weight), *(() if bias is None else ((bias, vjp_bias),)))
