"""The affine map of the last axis; its products may take 16-bit floats where parameters are float32."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array
from tensorgrad.cotangent import Request
from tensorgrad.dtype import DType
from tensorgrad.errors import ShapeError
from tensorgrad.kernels import gemm, kernels_for
from tensorgrad.ops.broadcast import reshape, sum
from tensorgrad.ops.common import TensorLike, operands, row_shape, shape_of
from tensorgrad.ops.convert import astype
from tensorgrad.ops.linalg.operand import check_product_dtype, mixed_operands, rounded_inputs
from tensorgrad.ops.linalg.product import matmul
from tensorgrad.ops.shape import matrix_transpose
from tensorgrad.rounding import rounded
from tensorgrad.tape import record_joint
from tensorgrad.tensor import Tensor

__all__ = ["linear"]


def linear(
    x: TensorLike, weight: TensorLike, bias: TensorLike | None = None, *, product_dtype: str | None = None
) -> Tensor:
    """x weight^T + bias, over the last axis.

    Args:    x (..., K); weight (N, K); bias (N,) or None, of one dtype; or x of a 16-bit float with weight and bias of
             float32, which are rounded to the dtype of x. product_dtype: None, or "bfloat16", for float32 on the
             CPU: the operands of the three products (the result, dx and dweight) are rounded to bfloat16 (8 bits of
             precision), and their products summed in float32.
    Returns: (..., N), of the dtype of x.
    Raises:  ShapeError, DTypeError, DeviceError, ArgumentError (product_dtype).
    Grad:    dx = g weight, dweight = g^T x, dbias = sum of g over the leading axes. For float32 parameters and a 16-bit
             x, dweight and dbias are float32 sums of 16-bit values, never rounded to 16 bits.
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
    x_shape, narrow, wide = a.shape, a.dtype, w.dtype
    x_RK, is_rounded = a.reshape(row_shape(x_shape)), product_dtype is not None
    if is_rounded:
        check_product_dtype("linear", a, product_dtype)
        x_RK, table = gemm.to_bfloat16(x_RK), gemm.to_bfloat16(w)
    else:
        table = rounded(w, narrow)
    out = gemm.affine(x_RK, table.T, None if bias is None else rounded(b, narrow)).reshape(*x_shape[:-1], w.shape[0])
    needs_x, needs_weight = (getattr(z, "node", None) is not None for z in (x, weight))
    # Each of the two is kept for the gradient of the other.
    kept_RK: Any
    kept_NK: Any
    kept_RK, kept_NK = x_RK if needs_weight else None, table if needs_x else None
    given: list[Any] = [x if needs_weight else None, weight if needs_x else None]
    recorded = rounded_inputs([x, weight], [kept_RK, kept_NK]) if is_rounded else lambda: given

    def vjp(g: Any, requests: list[Request | None]) -> list[Any]:
        to_x, to_weight, to_bias = requests
        dx: Any
        dweight: Any
        dbias: Any
        dx = dweight = dbias = None
        g_RN: Any = reshape(g, row_shape(g.shape))
        if type(g) is Tensor:
            exact_x, exact_weight = recorded()
            if to_x:
                dx = reshape(matmul(g_RN, astype(exact_weight, narrow, copy=False)), x_shape)
            g_RN = astype(g_RN, wide, copy=False)
            if to_weight:
                x_RK = astype(reshape(exact_x, row_shape(x_shape)), wide, copy=False)
                dweight = matmul(matrix_transpose(g_RN), x_RK)
            return [dx, dweight, sum(g_RN, axis=0) if to_bias else None]
        factor_RN = gemm.to_bfloat16(g_RN) if is_rounded and (to_x or to_weight) else g_RN
        if to_x:
            dx = gemm.affine(factor_RN, kept_NK, None).reshape(x_shape)
        if to_weight:
            has_sums = to_bias is not None and gemm.sums_beside_products(g)
            dweight, dbias = gradient_of_weight(factor_RN, kept_RK, wide, to_weight, has_sums=has_sums)
        if to_bias and dbias is None:
            dbias = kernels_for(g_RN).column_sums(g_RN, wide)
        return [dx, dweight, dbias]

    return record_joint(out, [x, weight, bias], vjp, selects=True)


def gradient_of_weight(
    g_RN: Any, x_RK: Any, dtype: DType, to: Request, *, has_sums: bool
) -> tuple[Array | None, Array | None]:
    """g^T x, or None if it went to the request's buffer; and with `has_sums` the sums of g over its rows."""
    if has_sums:
        accumulate = to.buffer is not None and to.accumulate
        product, sums = gemm.matmul_with_sums(g_RN.T, x_RK, dtype, to.buffer, accumulate=accumulate)
        return product if to.buffer is None else None, sums
    if to.buffer is None:
        return gemm.matmul_in(g_RN.T, x_RK, dtype), None
    gemm.matmul_into(g_RN.T, x_RK, to.buffer, accumulate=to.accumulate)
    return None, None
