"""Determinants, with gradients that do not need an inverse."""

from __future__ import annotations

from typing import Any, NamedTuple

from tensorgrad.array import Array, is_any, module_of
from tensorgrad.errors import LinAlgError
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike
from tensorgrad.ops.elementwise import add, multiply, subtract
from tensorgrad.ops.linalg.diagonal import trace
from tensorgrad.ops.linalg.operand import lapack, lapack_operand
from tensorgrad.ops.linalg.product import matmul
from tensorgrad.ops.linalg.solve import inv
from tensorgrad.ops.logic import constant
from tensorgrad.ops.shape import matrix_transpose
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["det", "slogdet"]


class SlogdetResult(NamedTuple):
    """The determinant's sign, and the logarithm of its size."""

    sign: Tensor
    logabsdet: Tensor


def det(x: TensorLike) -> Tensor:
    """The determinant, (..., M, M) to (...).

    The gradient, the cofactor matrix, and its gradient are exact for singular matrices too: they are
    sums of products of singular values, without a division, for the price of an SVD. The third order
    needs an invertible matrix.

    Grad:    dx = g cofactors(x).
    Raises:  ShapeError, DTypeError.
    Source:  for the cofactors, Stewart, "On the adjugate matrix", 1998.
    """
    a = lapack_operand("det", x, is_square=True)
    return record(module_of(a).linalg.det(a), (x, lambda g: multiply(_each(g), _cofactors(x))))


def _cofactors(x: Any) -> Any:
    """The matrices of cofactors: for x = U S V^T, the cofactors of S between det(U) U and det(V) V^T."""
    a = data(x)
    xp = module_of(a)
    u, s, vh = lapack("det", xp.linalg.svd, a, "finite", "look for nan and inf")
    others, pairs = _products_of_others(s)
    sign = xp.sign(xp.linalg.det(xp.matmul(u, vh)))[..., None]
    out = xp.matmul(u * (sign * others)[..., None, :], vh)
    pairs = pairs * sign[..., None]
    return record(out, (x, lambda g: _cofactors_along(x, g, u, pairs, vh)))


def _cofactors_along(x: Any, direction: Any, u: Array, pairs: Array, vh: Array) -> Any:
    """The derivative of the cofactor matrices along a direction, in which it is linear and symmetric.

    Around S the cofactor (i, i) changes by the sum over j of pairs[i, j] dS[j, j], and (i, j) by
    -pairs[i, j] dS[j, i], where pairs[i, j] is the product of the other singular values.
    """
    b = data(direction)
    xp = module_of(b)
    turned = xp.matmul(xp.matmul(u.swapaxes(-1, -2), b), vh.swapaxes(-1, -2))
    change = -pairs * turned.swapaxes(-1, -2)
    place = xp.arange(change.shape[-1])
    change[..., place, place] = xp.matmul(pairs, turned[..., place, place][..., None])[..., 0]
    out = xp.matmul(xp.matmul(u, change), vh)

    def vjp_x(g: Any) -> Any:
        # The third derivative of det along two directions, for P = x^-1 direction and Q = x^-1 g.
        try:
            inverse = inv(x)
        except LinAlgError:
            raise LinAlgError(
                f"det: expected invertible matrices to differentiate three times, got singular ones, shape {b.shape}: "
                "add a multiple of the identity to it"
            ) from None
        p, q = matmul(inverse, direction), matmul(inverse, g)
        p_trace, q_trace = _each(trace(p)), _each(trace(q))
        pq, qp = matmul(p, q), matmul(q, p)
        both = subtract(add(pq, qp), add(multiply(p_trace, q), multiply(q_trace, p)))
        scale = subtract(multiply(p_trace, q_trace), _each(trace(pq)))
        both = add(both, multiply(scale, xp.eye(b.shape[-1], dtype=b.dtype)))
        return multiply(_each(det(x)), matrix_transpose(matmul(both, inverse)))

    return record(out, (direction, lambda g: _cofactors_along(x, g, u, pairs, vh)), (x, vjp_x))


def _products_of_others(s: Array) -> tuple[Array, Array]:
    """The products of all numbers (..., M) but one, (..., M), and of all but two, (..., M, M), 0 for i = j."""
    xp = module_of(s)
    count = s.shape[-1]
    one = xp.ones((*s.shape[:-1], 1), s.dtype)
    before = xp.concatenate([one, s], axis=-1).cumprod(axis=-1)[..., :count]
    after = xp.concatenate([one, s[..., ::-1]], axis=-1).cumprod(axis=-1)[..., :count][..., ::-1]
    # between[i, j]: from i + 1 up to j - 1
    place = xp.arange(count)
    later = xp.where(place > place[:, None], s[..., None, :], 1)
    between = xp.concatenate([xp.ones_like(later[..., :1]), later], axis=-1).cumprod(axis=-1)[..., :count]
    pairs = xp.triu(before[..., :, None] * between * after[..., None, :], 1)
    return before * after, pairs + pairs.swapaxes(-1, -2)


def slogdet(x: TensorLike) -> SlogdetResult:
    """The sign (-1, 0 or 1) of the determinant and the logarithm of its size, (..., M, M) to two of (...).

    It neither overflows nor underflows where `det` does; a singular matrix has 0 and -inf.

    Grad:    dx = g x^-T for the logarithm; the sign is a constant.
    Raises:  ShapeError, DTypeError; in backward LinAlgError for a singular matrix.
    """
    a = lapack_operand("slogdet", x, is_square=True)
    sign, logabsdet = module_of(a).linalg.slogdet(a)

    def vjp(g: Any) -> Any:
        if is_any(sign == 0):
            raise LinAlgError(
                f"slogdet: expected invertible matrices to differentiate, got a singular one in shape {a.shape}: "
                "add a multiple of the identity to it, or use det"
            )
        return multiply(_each(g), matrix_transpose(inv(x)))

    return SlogdetResult(constant(sign, x), record(logabsdet, (x, vjp)))


def _each(x: Any) -> Any:
    """One number per matrix, (..., 1, 1), to broadcast with its elements."""
    return reshape(x, (*x.shape, 1, 1))
