"""A product of two inputs and a weight."""

from __future__ import annotations

from tensorgrad.errors import ShapeError
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, float_operand, operands, row_shape, shape_of
from tensorgrad.ops.elementwise import add
from tensorgrad.ops.linalg import matmul
from tensorgrad.ops.linalg.operand import check_bias
from tensorgrad.ops.shape import permute_dims
from tensorgrad.tensor import Tensor

__all__ = ["bilinear"]


def bilinear(x1: TensorLike, x2: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """x1^T weight[n] x2 + bias[n] for each n, over the last axes.

    Args:    x1 (..., I), x2 (..., J) with the same leading axes; weight (N, I, J); bias (N,) or None, of one dtype.
    Returns: (..., N).
    Raises:  ShapeError, DTypeError, DeviceError.
    """
    a, w = float_operand("bilinear", x1), operands("bilinear", x1, weight)[1]
    b = operands("bilinear", x1, x2)[1]
    fits = a.ndim and shape_of(b)[:-1] == a.shape[:-1] and len(shape_of(w)) == 3
    if not fits or w.shape[1:] != (a.shape[-1], *shape_of(b)[-1:]):
        raise ShapeError(
            f"bilinear: expected x1 (..., I), x2 (..., J) and weight (N, I, J), "
            f"got {a.shape}, {shape_of(b)} and {shape_of(w)}: "
            "reshape or transpose one"
        )
    check_bias("bilinear", x1, bias, w.shape[0])
    count, width, other = w.shape
    (rows, _), lead = row_shape(a.shape), a.shape[:-1]
    # One product for all n, (rows, I) (I, N J), then one of vectors for each row.
    halves = matmul(reshape(x1, (rows, width)), reshape(permute_dims(weight, (1, 0, 2)), (width, count * other)))
    out = matmul(reshape(halves, (rows, count, other)), reshape(x2, (rows, other, 1)))
    out = reshape(out, (*lead, count))
    return out if bias is None else add(out, bias)
