"""Systems, determinants, decompositions and norms of matrices.

The functions are applied `near` a fixed matrix, whose singular values and rows are 2 apart: to it plus a little of
the input. So the matrix is invertible and has no equal singular values, whatever the input, and it is symmetric
only where a case makes it so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.array import Array
from tensorgrad.verify.case import Table, beside

__all__ = ["table"]

table = Table()
case, constant = table.case, table.constant

SQUARE = "3x3, 2x2x2, 1x1, 0x0, 0x2x2"
ANY = "4x2, 2x3, 2x3x3, 1x1, 0x2x3"


def near(x: Any) -> Any:
    """x (..., M, N), scaled, plus 2, 4, 6 ... in the diagonal."""
    fixed = np.eye(*x.shape[-2:]) * (2 + 2 * np.arange(x.shape[-1]))
    if isinstance(x, tg.Tensor):
        return x * 0.15 + tg.asarray(fixed, dtype=x.dtype).to(x.device)
    return x * 0.15 + fixed


def symmetric(x: Any) -> Any:
    """`near`'s symmetric part; positive definite."""
    a = near(x)
    return (a + (tg.matrix_transpose(a) if isinstance(a, tg.Tensor) else a.swapaxes(-1, -2))) * 0.5


def leibniz(a: Array) -> Any:
    """The determinant as the sum over permutations."""
    total: Any = np.zeros(a.shape[:-2])
    for order in itertools.permutations(range(a.shape[-1])):
        inversions = sum(p > q for p, q in itertools.combinations(order, 2))
        total = total + (-1) ** inversions * np.prod([a[..., i, j] for i, j in enumerate(order)], axis=0)
    return total


def matrices(function: Callable[[Array], Array], *shape: int) -> Callable[[Array], Array]:
    """A function of one matrix, over stacks of matrices. Its results have `shape`, which an empty stack needs."""

    def stacked(a: Array) -> Array:
        found = [function(a[index]) for index in np.ndindex(a.shape[:-2])]
        return np.array(found).reshape(*a.shape[:-2], *(found[0].shape if found else shape))

    return stacked


def transposed(a: Array) -> Array:
    return a.swapaxes(-1, -2)


# --- systems ---------------------------------------------------------------------------------------

SYSTEMS = "3x3 3x2, 2x2 2, 2x2x2 2, 2x2x2 2x2x3, 2x1x2x2 3x2x1, 2x2 3x2x1, 1x1 1x1, 0x0 0x2, 2x2 2x0, 0x2x2 2"
case("solve", lambda x, y: tg.solve(near(x), y), lambda x, y: np.linalg.inv(near(x)) @ y, SYSTEMS)
case("solve", lambda x: tg.solve(near(x), x), lambda x: np.linalg.inv(near(x)) @ x, "3x3, 2x2x2", label="both")
case("inv", lambda x: tg.inv(near(x)), lambda x: np.linalg.solve(near(x), np.eye(x.shape[-1])), SQUARE)
for n in (0, 1, 2, 3, 5, 8, -1, -2, -3):
    case(
        "matrix_power",
        lambda x, n: tg.matrix_power(near(x) * 0.3, n),
        lambda x, n: np.linalg.matrix_power(near(x) * 0.3, n),
        SQUARE if n == 2 else "3x3, 2x2x2",
        n=n,
    )
case("pinv", lambda x: tg.pinv(near(x)), matrices(lambda a: np.linalg.lstsq(near(a), np.eye(len(a)))[0], 3, 2), ANY)
case(
    "pinv",
    lambda x: tg.pinv(near(x), rtol=beside(x, [0.1, 0.2])),
    matrices(lambda a: np.linalg.lstsq(near(a), np.eye(len(a)))[0]),
    "2x3x2",
    label="rtol",
)
constant("matrix_rank", tg.matrix_rank, np.linalg.matrix_rank, f"{ANY}, 0x3")
constant(
    "matrix_rank",
    lambda x: tg.matrix_rank(near(x), rtol=beside(x, [0.1, 0.6])),
    lambda x: np.array([2, 1]),
    "2x2x2",
    label="rtol",
)

# --- determinants ----------------------------------------------------------------------------------

case("det", tg.det, leibniz, "2x3x3, 2x2x4x4, 1x1, 0x0, 2x0x0")
case("det", lambda x: tg.det(near(x)), lambda x: leibniz(near(x)), SQUARE, label="near")
case("slogdet", lambda x: tg.slogdet(-near(x)).logabsdet, lambda x: np.log(np.abs(leibniz(near(x)))), SQUARE)
constant(
    "slogdet",
    lambda x: tg.slogdet(-near(x)).sign,
    lambda x: np.full(x.shape[:-2], (-1.0) ** x.shape[-1]),
    SQUARE,
    label="sign",
)

# --- decompositions --------------------------------------------------------------------------------


def cholesky(a: Array) -> Array:
    """The factor column by column."""
    out = np.zeros_like(a)
    for j in range(len(a)):
        out[j, j] = math.sqrt(a[j, j] - out[j, :j] @ out[j, :j])
        for i in range(j + 1, len(a)):
            out[i, j] = (a[i, j] - out[i, :j] @ out[j, :j]) / out[j, j]
    return out


def gram_schmidt(a: Array) -> Array:
    """Orthonormal columns that span the columns of a, each at an acute angle to its own; twice, for accuracy."""
    columns: list[Any] = []
    for column in a.T:
        for _ in range(2):
            for q in columns:
                column = column - (q @ column) * q
        columns.append(column / math.sqrt(column @ column))
    return np.array(columns).reshape(a.shape[::-1]).T


def projector(a: Array, i: int) -> Array:
    """The projector on the eigenvector of the i-th smallest eigenvalue of a symmetric matrix: Lagrange's polynomial."""
    values = np.sort(np.linalg.eigvals(a).real)
    out = np.eye(len(a))
    for value in np.delete(values, i):
        out = out @ (a - value * np.eye(len(a))) / (values[i] - value)
    return out


case("cholesky", lambda x: tg.cholesky(symmetric(x)), lambda x: matrices(cholesky, 2, 2)(symmetric(x)), SQUARE)
case(
    "cholesky",
    lambda x: tg.cholesky(symmetric(x), upper=True),
    lambda x: transposed(matrices(cholesky, 2, 2)(symmetric(x))),
    "3x3, 2x2x2",
    label="upper",
)


def positive_qr(x: Any, mode: str) -> tuple[Any, Any]:
    """The reduced factors with a positive diagonal of R, whatever LAPACK chose."""
    count = min(x.shape[-2:])
    q, r = tg.qr(near(x), mode=mode)
    q, r = q[..., :count], r[..., :count, :]
    signs = tg.sign(tg.diagonal(r).detach())
    return q * signs[..., None, :], r * signs[..., None]


def positive_q(a: Array) -> Array:
    return matrices(gram_schmidt, 2, 2)(near(a)[..., : min(a.shape[-2:])])


def positive_r(x: Array) -> Any:
    return np.triu(transposed(positive_q(x)) @ near(x))


for mode in ("reduced", "complete"):
    case("qr", lambda x, m=mode: positive_qr(x, m)[0], positive_q, f"{ANY}, 2x0", label=f"Q-{mode}")
    case("qr", lambda x, m=mode: positive_qr(x, m)[1], positive_r, f"{ANY}, 0x2", label=f"R-{mode}")
    case(
        "qr",
        lambda x, m=mode: positive_qr(x, m)[0] @ tg.sin(positive_qr(x, m)[1]),
        lambda x: positive_q(x) @ np.sin(positive_r(x)),
        "3x2, 2x3",
        label=f"both-{mode}",
    )


def eigenvalues(x: Array) -> Any:
    return np.sort(np.linalg.eigvals(symmetric(x)).real)


case("eigvalsh", lambda x: tg.eigvalsh(symmetric(x)), eigenvalues, SQUARE)
case("eigh", lambda x: tg.eigh(symmetric(x)).eigenvalues, eigenvalues, SQUARE, label="values")


def function_of_symmetric(x: Any) -> Any:
    w, v = tg.eigh(symmetric(x))
    return (v * (w**3)[..., None, :]) @ tg.matrix_transpose(v)


case("eigh", function_of_symmetric, lambda x: symmetric(x) @ symmetric(x) @ symmetric(x), SQUARE, label="both")
for i in (0, 1):
    case(
        "eigh",
        lambda x, i=i: tg.einsum("...a,...b->...ab", *[tg.eigh(symmetric(x)).eigenvectors[..., i]] * 2),
        lambda x, i=i: matrices(lambda a: projector(a, i), 2, 2)(symmetric(x)),
        "3x3, 2x2x2",
        label=f"vector-{i}",
    )


def singular_values(a: Array) -> Any:
    a = a if a.shape[-2] >= a.shape[-1] else transposed(a)
    return np.sqrt(np.sort(np.linalg.eigvals(transposed(a) @ a).real)[..., ::-1])


case("svdvals", lambda x: tg.svdvals(near(x)), lambda x: singular_values(near(x)), f"{ANY}, 2x0")
for full in (False, True):
    factors = partial(tg.svd, full_matrices=full)
    case("svd", lambda x, f=factors: f(near(x)).S, lambda x: singular_values(near(x)), ANY, label=f"S-{full}")

    def cubed(x: Any, svd: Any = factors) -> Any:
        count = min(x.shape[-2:])
        u, s, vh = svd(near(x))
        return (u[..., :count] * (s**3)[..., None, :]) @ vh[..., :count, :]

    case("svd", cubed, lambda x: near(x) @ transposed(near(x)) @ near(x), ANY, label=f"all-{full}")

    def left(x: Any, svd: Any = factors) -> Any:
        u = svd(near(x)).U[..., 0]
        return tg.einsum("...a,...b->...ab", u, u)

    case("svd", left, lambda x: matrices(lambda a: projector(a @ a.T, -1))(near(x)), "3x3, 2x3", label=f"U-{full}")

    def both(x: Any, svd: Any = factors) -> Any:
        u, _, vh = svd(near(x))
        return tg.einsum("...a,...b->...ab", u[..., 0], vh[..., 0, :])

    case(
        "svd",
        both,
        lambda x: matrices(lambda a: projector(a @ a.T, -1) @ a)(near(x)) / singular_values(near(x))[..., :1, None],
        "3x3, 2x3, 2x2x2",
        label=f"U-Vh-{full}",
    )
    if not full:
        case(
            "svd",
            left,
            lambda x: near(x)[:, :1] @ near(x)[:, :1].T / (near(x)[:, 0] @ near(x)[:, 0]),
            "3x1",
            label="U-column",
        )

# --- norms -----------------------------------------------------------------------------------------


def vector_norm(x: Array, axis: Any, keepdims: bool, ord: float) -> Any:  # noqa: A002
    size = np.abs(x)
    if math.isinf(ord):
        return (np.max if ord > 0 else np.min)(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return (size > 0).sum(axis=axis, keepdims=keepdims).astype(float)
    return (size**ord).sum(axis=axis, keepdims=keepdims) ** (1 / ord)


for ord_ in (2, 1, 3, 0.5, -1, -2, 2.5, 0, math.inf, -math.inf):
    for axis, keepdims in ((None, False), (-1, False), (0, True), ((0, 1), False), (None, True)):
        if ord_ != 2 and axis == (0, 1):
            continue
        case(
            "vector_norm",
            lambda x, **o: tg.vector_norm(-(x + 3), **o),
            lambda x, **o: vector_norm(x + 3, **o),
            "3x4",
            domain="distinct",
            ord=ord_,
            axis=axis,
            keepdims=keepdims,
        )
case("vector_norm", tg.vector_norm, lambda x: np.sqrt((x * x).sum()), "0x3, scalar, 1, 2x1x3")
case("vector_norm", lambda x: tg.vector_norm(x, axis=()), lambda x: np.sqrt(x * x), "2x2", label="no axis")

ORDERS: dict[Any, Callable[[Array], Any]] = {
    "fro": lambda a: np.sqrt((a * a).sum(axis=(-1, -2))),
    "nuc": lambda a: singular_values(a).sum(axis=-1),
    2: lambda a: singular_values(a)[..., 0],
    -2: lambda a: singular_values(a)[..., -1],
    1: lambda a: np.abs(a).sum(axis=-2).max(axis=-1),
    -1: lambda a: np.abs(a).sum(axis=-2).min(axis=-1),
    math.inf: lambda a: np.abs(a).sum(axis=-1).max(axis=-1),
    -math.inf: lambda a: np.abs(a).sum(axis=-1).min(axis=-1),
}


for ord_, expected in ORDERS.items():
    of_near: Any = lambda x, f=expected: f(near(x))  # noqa: E731
    case("matrix_norm", lambda x, n=ord_: tg.matrix_norm(near(x), ord=n), of_near, "3x3, 2x2x3, 0x2x2", label=ord_)
    case("norm", lambda x, n=ord_: tg.norm(near(x), ord=n), of_near, "3x2", label=f"{ord_}-all")
    case(
        "matrix_norm",
        lambda x, n=ord_: tg.matrix_norm(near(x), ord=n, keepdims=True),
        lambda x, f=of_near: f(x)[..., None, None],
        "2x3x2",
        label=f"{ord_}-keepdims",
    )
    case(
        "norm",
        lambda x, n=ord_: tg.norm(near(x), ord=n, axis=(1, 0), keepdims=True),
        lambda x, f=expected: np.array(f(near(x).T)).reshape(1, 1),
        "3x2",
        label=ord_,
    )
case("matrix_norm", tg.matrix_norm, ORDERS["fro"], "0x3, 2x3", label="default")
case("norm", tg.norm, lambda x: np.sqrt((x * x).sum()), "2x1x3, 4, scalar, 0x2")
case("norm", lambda x: tg.norm(x, axis=1), lambda x: np.sqrt((x * x).sum(axis=1)), "2x3", label="axis")
case("norm", lambda x: tg.norm(x, axis=(0, 2)), lambda x: np.sqrt((x * x).sum(axis=(0, 2))), "2x2x3", label="axes")
case("norm", lambda x: tg.norm(x, ord=3), lambda x: vector_norm(x, None, False, 3), "4", label="vector")
case(
    "norm",
    lambda x: tg.norm(x, ord=1, axis=0, keepdims=True),
    lambda x: np.abs(x).sum(axis=0, keepdims=True),
    "3x2",
    label="1-axis",
)
