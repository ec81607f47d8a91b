"""Linear systems, and the inverses and powers of matrices.

x is (..., M, M), float32 or float64, unless said otherwise. Raises ShapeError, DTypeError, and LinAlgError
for a matrix that is singular to the last bit; a nearly singular one gives a large result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.arguments import as_integer, as_number
from tensorgrad.array import Array, device_of, is_array, module_of
from tensorgrad.cotangent import Request
from tensorgrad.errors import ShapeError
from tensorgrad.ops.broadcast import reshape, sum_to
from tensorgrad.ops.common import TensorLike, float_operand, operands, shape_of
from tensorgrad.ops.elementwise import add, negative, positive, subtract
from tensorgrad.ops.linalg.operand import lapack, lapack_operand, matrix_operand
from tensorgrad.ops.linalg.product import matmul
from tensorgrad.ops.logic import constant
from tensorgrad.ops.shape import matrix_transpose
from tensorgrad.tape import data, record, record_joint
from tensorgrad.tensor import Tensor

__all__ = ["inv", "matrix_power", "matrix_rank", "pinv", "solve"]

_IF_SINGULAR = "add a multiple of the identity to it, or use pinv"


def solve(x: TensorLike, y: TensorLike) -> Tensor:
    """The z with x z = y.

    Args:    x (..., M, M); y (M,), or (..., M, K) whose leading axes broadcast with x's.
    Returns: (..., M), or (..., M, K).
    Grad:    dy = x^-T g, dx = -dy z^T, summed over broadcast axes.
    Saves:   x, the output.
    Source:  Giles, "An extended collection of matrix derivative results for forward and reverse mode
             algorithmic differentiation", 2008.
    """
    operands("solve", x, y)
    a, b = lapack_operand("solve", x, is_square=True), data(y)
    rows = shape_of(b)[-2:-1] if getattr(b, "ndim", 0) > 1 else shape_of(b)
    if rows != a.shape[-1:]:
        raise _solve_error(a, b)
    if b.ndim == 1:
        return reshape(solve(x, reshape(y, (*b.shape, 1))), a.shape[:-1])
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise _solve_error(a, b) from None
    return _solve(x, y, lapack("solve", lambda m: _solution(m, b), a, "invertible", _IF_SINGULAR))


def _solution(a: Array, b: Array) -> Array:
    xp = module_of(a)
    if device_of(a) != "cpu":  # CuPy does not broadcast here
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (xp.broadcast_to(m, lead + m.shape[-2:]) for m in (a, b))
    return xp.linalg.solve(a, b)  # type: ignore[no-any-return]


def _solve(x: Any, y: Any, z: Array) -> Tensor:
    """z, recorded as the solution. Its vjp records z again, to differentiate it without solving again."""
    x_shape, y_shape = shape_of(x), shape_of(y)

    def vjp(g: Any, requests: list[Request | None]) -> list[Any]:
        d = solve(matrix_transpose(x), g)
        dx = sum_to(negative(matmul(d, matrix_transpose(_solve(x, y, z)))), x_shape) if requests[0] else None
        return [dx, sum_to(d, y_shape)]

    return record_joint(z, [x, y], vjp, selects=True)


def _solve_error(a: Any, b: Any) -> ShapeError:
    return ShapeError(
        "solve: expected shapes (..., M, M) and (..., M, K) whose leading axes broadcast, or (M,) for the second, "
        f"got {a.shape} and {shape_of(b)}: "
        "reshape or transpose the second"
    )


def inv(x: TensorLike) -> Tensor:
    """The inverse: x inv(x) = 1. To multiply by the inverse use `solve`, which is faster and more accurate.

    Grad:    dx = -y^T g y^T. Source: Giles, as for `solve`.
    """
    a = lapack_operand("inv", x, is_square=True)
    out = lapack("inv", module_of(a).linalg.inv, a, "invertible", _IF_SINGULAR)

    def vjp(g: Any, y: Any) -> Any:
        y_transposed = matrix_transpose(y)
        return negative(matmul(matmul(y_transposed, g), y_transposed))

    return record(out, (x, vjp), keep_output=True)


def matrix_power(x: TensorLike, n: int) -> Tensor:
    """x multiplied by itself n times, in about log2(n) products; the inverse's power for n < 0; the identity for 0."""
    a, n = matrix_operand("matrix_power", x), as_integer("matrix_power", "n", n)
    if a.shape[-1] != a.shape[-2]:
        raise ShapeError(
            f"matrix_power: expected square matrices (..., M, M), got shape {a.shape}: name the last two axes alike"
        )
    xp = module_of(a)
    if n == 0:
        identity = xp.broadcast_to(xp.eye(a.shape[-1], dtype=a.dtype), a.shape).copy()
        return record(identity, (x, lambda g: xp.zeros_like(a)))
    # The first power is a copy: no result is a view of an operand.
    power: Any = positive(x) if n == 1 else x if n > 0 else inv(x)
    out, left = None, abs(n)
    while left > 1:
        if left % 2:
            out = power if out is None else matmul(out, power)
        power, left = matmul(power, power), left // 2
    return power if out is None else matmul(out, power)


def pinv(x: TensorLike, *, rtol: float | Array | None = None) -> Tensor:
    """The Moore-Penrose pseudo-inverse, (..., M, N) to (..., N, M).

    Args:    rtol: singular values up to rtol times the largest count as 0; a number, or one for each matrix
             (...); max(M, N) times the dtype's epsilon if None.
    Grad:    dx = -y^T g y^T + (1 - x y) g^T y y^T + y^T y g^T (1 - y x): where the rank stays the same.
    Source:  Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
             whose variables separate", 1973.
    """
    a = lapack_operand("pinv", x)
    xp = module_of(a)
    u, s, vh = lapack("pinv", lambda m: xp.linalg.svd(m, full_matrices=False), a, "finite", "look for nan and inf")
    is_kept = _counts("pinv", s, a.shape, rtol)
    reciprocal = xp.where(is_kept, 1 / xp.where(is_kept, s, 1), 0).astype(a.dtype)
    out = xp.matmul(vh.swapaxes(-1, -2) * reciprocal[..., None, :], u.swapaxes(-1, -2))

    def vjp(g: Any, y: Any) -> Any:
        h, y_transposed = matrix_transpose(g), matrix_transpose(y)
        inverse = matmul(matmul(y_transposed, g), y_transposed)
        columns = matmul(matmul(subtract(h, matmul(x, matmul(y, h))), y), y_transposed)
        rows = matmul(y_transposed, matmul(y, subtract(h, matmul(matmul(h, y), x))))
        return subtract(add(columns, rows), inverse)

    return record(out, (x, vjp), keep_output=True)


def matrix_rank(x: TensorLike, *, rtol: float | Array | None = None) -> Tensor:
    """How many singular values are more than `rtol` (as in `pinv`) times the largest: (..., M, N) to (...), int64."""
    a = lapack_operand("matrix_rank", x)
    xp = module_of(a)
    s = lapack("matrix_rank", lambda m: xp.linalg.svd(m, compute_uv=False), a, "finite", "look for nan and inf")
    return constant(_counts("matrix_rank", s, a.shape, rtol).sum(axis=-1), x)


def _counts(op: str, s: Array, shape: tuple[int, ...], rtol: Any) -> Array:
    """Which singular values count as different from 0."""
    if rtol is None:
        rtol = max(shape[-2:]) * float(np.finfo(s.dtype).eps)
    elif is_array(data(rtol)):
        rtol = float_operand(op, rtol)
        if rtol.ndim > s.ndim - 1 or any(
            n not in (1, m) for n, m in zip(rtol.shape[::-1], s.shape[-2::-1], strict=False)
        ):
            raise ShapeError(
                f"{op}: expected rtol to broadcast to the matrices' shape {s.shape[:-1]}, got {rtol.shape}: "
                "give one number, or one for each matrix"
            )
        rtol = rtol.astype(s.dtype)[..., None]
    else:
        rtol = as_number(op, "rtol", rtol)
    if not s.shape[-1]:
        return s > 0
    is_kept: Array = s > rtol * s.max(axis=-1, keepdims=True)
    return is_kept
