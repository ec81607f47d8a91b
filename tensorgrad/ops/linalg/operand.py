"""What the linear algebra ops ask of their operands: matrices, in the dtypes that LAPACK has."""

from __future__ import annotations

from typing import Any

from tensorgrad.array import Array
from tensorgrad.dtype import is_float
from tensorgrad.errors import ShapeError
from tensorgrad.ops.broadcast import sum
from tensorgrad.ops.common import operand
from tensorgrad.ops.elementwise import astype
from tensorgrad.tensor import Tensor


def matrix_operand(op: str, x: Any) -> Array:
    """`operand`, of at least two axes."""
    a = operand(op, x)
    if a.ndim < 2:
        raise ShapeError(f"{op}: expected matrices (..., M, N), got shape {a.shape}: reshape it")
    return a


def sum_in_dtype(x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """`sum` that keeps an integer dtype, as products do."""
    out = sum(x, axis=axis)
    return out if is_float(x.dtype) else astype(out, x.dtype)
