"""Matrix products. All of them go through `kernels.gemm`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.arguments import as_integer
from tensorgrad.errors import ShapeError, shown
from tensorgrad.kernels import gemm
from tensorgrad.ops.broadcast import reshape, sum_to
from tensorgrad.ops.common import (
    TensorLike,
    broadcast_error,
    normalise_axes,
    normalise_axis,
    operand,
    operands,
    row_shape,
    shape_of,
)
from tensorgrad.ops.elementwise import multiply, subtract
from tensorgrad.ops.linalg.operand import sum_in_dtype
from tensorgrad.ops.shape import matrix_transpose, permute_dims, roll
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["cross", "kron", "matmul", "outer", "tensordot", "vecdot"]


def matmul(x: TensorLike, y: TensorLike) -> Tensor:
    """The matrix product over the last two axes; leading axes broadcast.

    Args:    x (..., M, K) or (K,); y (..., K, N) or (K,), of one dtype.
    Returns: (..., M, N), without the axis that a vector lacks.
    Raises:  ShapeError, DTypeError, DeviceError.
    Grad:    dx = g y^T, dy = x^T g, summed over broadcast axes.
    """
    a, b = operands("matmul", x, y)
    if not getattr(a, "ndim", 0) or not getattr(b, "ndim", 0):
        raise ShapeError("matmul: expected at least one axis each, got a scalar: use multiply")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise _matmul_error(a.shape, b.shape)
    if a.ndim == 1 or b.ndim == 1:
        product = matmul(
            reshape(x, (1, *a.shape)) if a.ndim == 1 else x,
            reshape(y, (*b.shape, 1)) if b.ndim == 1 else y,
        )
        shape = product.shape
        return reshape(
            product,
            (*shape[:-2], *(() if a.ndim == 1 else shape[-2:-1]), *(() if b.ndim == 1 else shape[-1:])),
        )
    if a.ndim > 2 and b.ndim == 2:
        # One product of all rows, whose gradient in y is one product too.
        return reshape(matmul(reshape(x, row_shape(a.shape)), y), (*a.shape[:-1], b.shape[1]))
    try:
        out = gemm.matmul(a, b)
    except ValueError:
        raise _matmul_error(a.shape, b.shape) from None
    x_shape, y_shape = a.shape, b.shape
    return record(
        out,
        (x, lambda g: sum_to(matmul(g, matrix_transpose(y)), x_shape)),
        (y, lambda g: sum_to(matmul(matrix_transpose(x), g), y_shape)),
    )


def _matmul_error(x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        f"matmul: expected shapes (..., M, K) and (..., K, N) whose leading axes broadcast, "
        f"got {x_shape} and {y_shape}: transpose or reshape one"
    )


def tensordot(x: TensorLike, y: TensorLike, *, axes: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes; x's other axes come first, then y's.

    Args:    axes: how many of x's last axes meet y's first ones, in order; or the two lists of axes that
             meet pairwise, of equal sizes (nothing broadcasts).
    Raises:  ShapeError, DTypeError, DeviceError.
    """
    a, b = _arrays("tensordot", x, y)
    if isinstance(axes, Sequence) and not isinstance(axes, str):
        if len(axes) != 2 or not all(isinstance(part, Sequence) for part in axes):
            raise ShapeError(
                f"tensordot: expected axes to be an integer or two lists of axes, got {shown(axes)}: "
                "write them as ((1,), (0,))"
            )
        p, q = (normalise_axes("tensordot", tuple(part), z.ndim) for part, z in zip(axes, (a, b), strict=True))
    else:
        count = as_integer("tensordot", "axes", axes)
        if not 0 <= count <= min(a.ndim, b.ndim):
            raise ShapeError(
                f"tensordot: expected axes in 0 .. {min(a.ndim, b.ndim)}, got {count}: count the axes that both have"
            )
        p, q = tuple(range(a.ndim - count, a.ndim)), tuple(range(count))
    if [a.shape[i] for i in p] != [b.shape[i] for i in q]:
        raise ShapeError(
            f"tensordot: expected equal sizes along axes {p} and {q}, got {a.shape} and {b.shape}: "
            "name the axes that belong together"
        )
    rows, columns = [i for i in range(a.ndim) if i not in p], [i for i in range(b.ndim) if i not in q]
    depth = math.prod(a.shape[i] for i in p)
    shape = (*(a.shape[i] for i in rows), *(b.shape[i] for i in columns))
    left = reshape(permute_dims(x, (*rows, *p)), (math.prod(shape[: len(rows)]), depth))
    right = reshape(permute_dims(y, (*q, *columns)), (depth, math.prod(shape[len(rows) :])))
    return reshape(matmul(left, right), shape)


def vecdot(x: TensorLike, y: TensorLike, *, axis: int = -1) -> Tensor:
    """The dot products of the vectors along `axis`, of one length in x and y; the other axes broadcast.

    `axis` counts from the last axis of each, so it must be negative where they have different numbers of axes.
    """
    axis = _shared_axis("vecdot", x, y, axis)
    return sum_in_dtype(multiply(x, y), axis)


def cross(x: TensorLike, y: TensorLike, *, axis: int = -1) -> Tensor:
    """The cross products of the vectors of three elements along `axis`, which is as in `vecdot`."""
    axis = _shared_axis("cross", x, y, axis)
    if shape_of(x)[axis] != 3:
        raise ShapeError(
            f"cross: expected three elements along axis {axis}, got shape {shape_of(x)}: name the axis of the vectors"
        )
    return subtract(
        multiply(roll(x, -1, axis=axis), roll(y, -2, axis=axis)),
        multiply(roll(x, -2, axis=axis), roll(y, -1, axis=axis)),
    )


def outer(x: TensorLike, y: TensorLike) -> Tensor:
    """Every element of x (M,) times every element of y (N,): (M, N)."""
    a, b = _arrays("outer", x, y)
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(f"outer: expected two vectors, got {a.shape} and {b.shape}: use tensordot with axes=0")
    return multiply(reshape(x, (a.size, 1)), y)


def kron(x: TensorLike, y: TensorLike) -> Tensor:
    """The Kronecker product: each element of x times all of y, in blocks; missing leading axes have size 1."""
    a, b = _arrays("kron", x, y)
    ndim = max(a.ndim, b.ndim)
    p, q = ((1,) * (ndim - z.ndim) + z.shape for z in (a, b))
    blocks = multiply(
        reshape(x, [n for size in p for n in (size, 1)]),
        reshape(y, [n for size in q for n in (1, size)]),
    )
    return reshape(blocks, [m * n for m, n in zip(p, q, strict=True)])


def _arrays(op: str, x: Any, y: Any) -> tuple[Any, Any]:
    """The arrays of two operands of one dtype. Refuses Python numbers."""
    a, b = operands(op, x, y)
    for value in (a, b):
        operand(op, value)
    return a, b


def _shared_axis(op: str, x: Any, y: Any, axis: int) -> int:
    """`axis` counted from the end. Both operands must have the same length along it; their other axes broadcast."""
    a, b = _arrays(op, x, y)
    index = normalise_axis(op, axis, min(a.ndim, b.ndim))
    if axis >= 0 and a.ndim != b.ndim:
        raise ShapeError(
            f"{op}: expected a negative axis for shapes {a.shape} and {b.shape}, got {axis}: count it from the end"
        )
    last: int = index - min(a.ndim, b.ndim)
    if a.shape[last] != b.shape[last]:
        raise ShapeError(
            f"{op}: expected one length along axis {last}, got {a.shape} and {b.shape}: name the axis of the vectors"
        )
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise broadcast_error(op, a, b) from None
    return last
