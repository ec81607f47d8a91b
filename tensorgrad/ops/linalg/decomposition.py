"""Factors of matrices, and their eigenvalues and singular values.

Each factor is recorded by itself, so an unused factor costs nothing in backward, and spoils nothing:
where eigenvalues are equal they still have a gradient, eigenvectors do not (theirs is inf or nan). A
private function records all factors of one decomposition. The vjps call it again with the same arrays
to get factors that can be differentiated once more, so nothing is decomposed twice.

Raises ShapeError, DTypeError (float32 and float64 only), LinAlgError.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from tensorgrad.arguments import as_flag, check_option
from tensorgrad.array import Array, is_any, module_of
from tensorgrad.errors import GraphError, LinAlgError
from tensorgrad.ops.common import TensorLike
from tensorgrad.ops.elementwise import add, divide, multiply, subtract
from tensorgrad.ops.index import getitem
from tensorgrad.ops.linalg.operand import lapack, lapack_operand
from tensorgrad.ops.linalg.product import matmul
from tensorgrad.ops.linalg.solve import solve
from tensorgrad.ops.shape import concat, matrix_transpose, tril
from tensorgrad.tape import data, record
from tensorgrad.tensor import Tensor

__all__ = ["cholesky", "eigh", "eigvalsh", "qr", "svd", "svdvals"]

_IF_NOT_FINITE = "look for nan and inf"


class QRResult(NamedTuple):
    """Q with orthonormal columns and R upper triangular: Q R = x."""

    Q: Tensor
    R: Tensor


class EighResult(NamedTuple):
    """The eigenvalues, ascending, and the eigenvectors in columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SVDResult(NamedTuple):
    """U diag(S) Vh = x, the singular values S descending."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def cholesky(x: TensorLike, *, upper: bool = False) -> Tensor:
    """The lower triangular L with L L^T = x, symmetric positive definite; with `upper` U = L^T, U^T U = x.

    Only the lower (or upper) triangle of x is read; the gradient is symmetric all the same, as in PyTorch.

    Grad:    dx = L^-T P L^-1 with P the symmetric part of the lower triangle, its diagonal halved, of L^T g.
    Raises:  LinAlgError: x is not positive definite.
    Source:  Murray, "Differentiation of the Cholesky decomposition", 2016 (its symbolic form).
    """
    a = lapack_operand("cholesky", x, is_square=True)
    if as_flag("cholesky", "upper", upper):
        return matrix_transpose(cholesky(matrix_transpose(x)))
    advice = "add a multiple of the identity to it"
    out = lapack("cholesky", module_of(a).linalg.cholesky, a, "positive definite", advice)

    def vjp(g: Any, y: Any) -> Any:
        y_transposed = matrix_transpose(y)
        left = solve(y_transposed, multiply(_symmetric_from_lower(matmul(y_transposed, g)), 0.5))
        return matrix_transpose(solve(y_transposed, matrix_transpose(left)))

    return record(out, (x, vjp), keep_output=True)


def qr(x: TensorLike, *, mode: str = "reduced") -> QRResult:
    """Q R = x, Q (..., M, K) with orthonormal columns, R (..., K, N) upper triangular, K = min(M, N).

    With mode "complete" K is M. Columns of Q beyond N are then any basis of the rest, and have no
    gradient. LAPACK chooses the signs of R's diagonal.

    Grad:    dx = (gQ + Q P) R^-T, P symmetric with the lower triangle of R gR^T - gQ^T Q.
    Raises:  ArgumentError for another mode. In backward LinAlgError where the first min(M, N) columns of
             x are not independent, GraphError for a gradient of columns beyond N.
    Source:  Roberts and Roberts, "QR and LQ decomposition matrix backpropagation algorithms for square,
             wide, and deep matrices and their software implementation", 2020.
    """
    check_option("qr", "mode", mode, "reduced", "complete")
    a = lapack_operand("qr", x)
    rows, columns = a.shape[-2:]
    if rows < columns:
        # The leading square decides Q; the columns after it are only expressed in it.
        square = qr(getitem(x, (..., slice(0, rows))))
        rest = matmul(matrix_transpose(square.Q), getitem(x, (..., slice(rows, None))))
        return QRResult(square.Q, concat([square.R, rest], axis=-1))
    return _qr(x, *module_of(a).linalg.qr(a, mode))


def _qr(x: Any, q: Array, r: Array) -> QRResult:
    count = r.shape[-1]

    def factors() -> tuple[Any, Any]:
        if is_any(r[..., :count, :].diagonal(0, -2, -1) == 0):
            raise LinAlgError(
                f"qr: expected independent columns to differentiate, got shape {x.shape} where R has a 0 in its "
                "diagonal: leave out the columns that depend on others"
            )
        found = _qr(x, q, r)
        return _first(found.Q, count), getitem(found.R, (..., slice(0, count), slice(None)))

    def vjp_q(g: Any) -> Any:
        q1, r1 = factors()
        g = _first_alone("qr", "Q", g, count, 'use mode="reduced"')
        symmetric = _symmetric_from_lower(matmul(matrix_transpose(g), q1))
        return _over_transposed(subtract(g, matmul(q1, symmetric)), r1)

    def vjp_r(g: Any) -> Any:
        q1, r1 = factors()
        g = getitem(g, (..., slice(0, count), slice(None)))
        return _over_transposed(matmul(q1, _symmetric_from_lower(matmul(r1, matrix_transpose(g)))), r1)

    return QRResult(record(q, (x, vjp_q)), record(r, (x, vjp_r)))


def _over_transposed(x: Any, r: Any) -> Any:
    """x r^-T."""
    return matrix_transpose(solve(r, matrix_transpose(x)))


def eigh(x: TensorLike) -> EighResult:
    """The eigenvalues (..., M) and eigenvectors (..., M, M) of symmetric matrices (..., M, M).

    Only the lower triangle is read; the gradient is symmetric all the same, as in PyTorch. LAPACK chooses the
    sign of each eigenvector. Where eigenvalues are equal, the eigenvectors' gradient is not finite.

    Grad:    dx = V (diag(gw) + (V^T gV - gV^T V) / 2 E) V^T, E[i, j] = w[j] - w[i], 1 for i = j.
    Source:  Giles, "An extended collection of matrix derivative results for forward and reverse mode
             algorithmic differentiation", 2008.
    """
    a = lapack_operand("eigh", x, is_square=True)
    return _eigh(x, *lapack("eigh", module_of(a).linalg.eigh, a, "finite", _IF_NOT_FINITE))


def _eigh(x: Any, w: Array, v: Array) -> EighResult:
    def vjp_values(g: Any) -> Any:
        return _from_eigen(_eigh(x, w, v).eigenvectors, g)

    def vjp_vectors(g: Any) -> Any:
        values, vectors = _eigh(x, w, v)
        inner = divide(_skew(matmul(matrix_transpose(vectors), g)), _without_zeros(_differences(values)))
        return multiply(matmul(matmul(vectors, inner), matrix_transpose(vectors)), 0.5)

    return EighResult(record(w, (x, vjp_values)), record(v, (x, vjp_vectors)))


def eigvalsh(x: TensorLike) -> Tensor:
    """The eigenvalues of symmetric matrices, ascending: `eigh` without eigenvectors, which backward computes."""
    a = lapack_operand("eigvalsh", x, is_square=True)
    out = lapack("eigvalsh", module_of(a).linalg.eigvalsh, a, "finite", _IF_NOT_FINITE)

    return record(out, (x, lambda g: _from_eigen(eigh(x).eigenvectors, g)))


def _from_eigen(vectors: Any, values: Any) -> Any:
    """V diag(w) V^T."""
    return matmul(multiply(vectors, _row(values)), matrix_transpose(vectors))


def svd(x: TensorLike, *, full_matrices: bool = True) -> SVDResult:
    """U diag(S) Vh = x: U (..., M, K) and Vh (..., K, N) with orthonormal columns and rows, S (..., K) descending.

    K = min(M, N). With `full_matrices` U is (..., M, M) and Vh (..., N, N); vectors beyond K are any basis
    of the rest, and have no gradient. LAPACK chooses the sign of each pair of vectors. Where singular values
    are equal, or one of a matrix that is not square is 0, the vectors' gradient is not finite.

    Grad:    dx = U ((U^T gU - gU^T U) / E S + S (V^T gV - gV^T V) / E + diag(gS)) V^T
             + (1 - U U^T) gU S^-1 V^T + U S^-1 gV^T (1 - V V^T), E[i, j] = S[j]^2 - S[i]^2, 1 for i = j.
    Raises:  in backward GraphError for a gradient of vectors beyond K.
    Source:  Townsend, "Differentiating the singular value decomposition", 2016.
    """
    a = lapack_operand("svd", x)
    full_matrices = as_flag("svd", "full_matrices", full_matrices)
    decompose = functools.partial(module_of(a).linalg.svd, full_matrices=full_matrices)
    return _svd(x, *lapack("svd", decompose, a, "finite", _IF_NOT_FINITE))


def _svd(x: Any, u: Array, s: Array, vh: Array) -> SVDResult:
    count = s.shape[-1]

    def factors() -> tuple[Any, Any, Any]:
        found = _svd(x, u, s, vh)
        return _first(found.U, count), found.S, _first(matrix_transpose(found.Vh), count)

    def vjp_u(g: Any) -> Any:
        u1, values, v1 = factors()
        return _left_vectors_gradient(_first_alone("svd", "U", g, count, "use full_matrices=False"), u1, values, v1)

    def vjp_s(g: Any) -> Any:
        u1, _, v1 = factors()
        return matmul(multiply(u1, _row(g)), matrix_transpose(v1))

    def vjp_vh(g: Any) -> Any:
        u1, values, v1 = factors()
        g = _first_alone("svd", "Vh", matrix_transpose(g), count, "use full_matrices=False")
        return matrix_transpose(_left_vectors_gradient(g, v1, values, u1))

    return SVDResult(record(u, (x, vjp_u)), record(s, (x, vjp_s)), record(vh, (x, vjp_vh)))


def _left_vectors_gradient(g: Any, u: Any, s: Any, v: Any) -> Any:
    """The cotangent of u diag(s) v^T for a cotangent g of u."""
    inside = matmul(matrix_transpose(u), g)
    # s[j]^2 - s[i]^2, but exact where they are close.
    gaps = multiply(_differences(s), add(_row(s), matrix_transpose(_row(s))))
    left = matmul(u, multiply(divide(_skew(inside), _without_zeros(gaps)), _row(s)))
    if u.shape[-2] > u.shape[-1]:
        left = add(left, divide(subtract(g, matmul(u, inside)), _row(s)))
    return matmul(left, matrix_transpose(v))


def svdvals(x: TensorLike) -> Tensor:
    """The singular values, descending: `svd` without the vectors, which backward computes."""
    a = lapack_operand("svdvals", x)
    decompose = functools.partial(module_of(a).linalg.svd, compute_uv=False)
    out = lapack("svdvals", decompose, a, "finite", _IF_NOT_FINITE)

    def vjp(g: Any) -> Any:
        u, _, vh = svd(x, full_matrices=False)
        return matmul(multiply(u, _row(g)), vh)

    return record(out, (x, vjp))


# --- what the gradients share ------------------------------------------------------------------


def _row(x: Any) -> Any:
    """Numbers (..., K) as a row, (..., 1, K), to scale the columns of a matrix."""
    return getitem(x, (..., None, slice(None)))


def _skew(x: Any) -> Any:
    return subtract(x, matrix_transpose(x))


def _symmetric_from_lower(x: Any) -> Any:
    """The lower triangle, copied to the upper one."""
    lower = tril(x)
    return subtract(
        add(lower, matrix_transpose(lower)), multiply(x, module_of(data(x)).eye(x.shape[-1], dtype=x.dtype))
    )


def _differences(x: Any) -> Any:
    """x[j] - x[i]."""
    return subtract(_row(x), matrix_transpose(_row(x)))


def _without_zeros(x: Any) -> Any:
    """Divisors whose diagonal is 0, with 1 there instead: the dividend is 0 there too."""
    return add(x, module_of(data(x)).eye(x.shape[-1], dtype=x.dtype))


def _first(x: Any, count: int) -> Any:
    """The first columns."""
    return x if x.shape[-1] == count else getitem(x, (..., slice(0, count)))


def _first_alone(op: str, name: str, g: Any, count: int, advice: str) -> Any:
    """The first columns of a cotangent. Raises GraphError unless it is 0 in the others."""
    if is_any(data(g)[..., count:] != 0):
        raise GraphError(
            f"{op}: expected a gradient of the first {count} vectors of {name} only, got one of all {g.shape[-1]}: "
            f"the others are any basis of the rest; {advice}"
        )
    return _first(g, count)
