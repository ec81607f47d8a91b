"""Linear algebra against PyTorch on the CPU: values, and gradients of both orders, over combinations of arguments.

Float64 agrees to 1e-10 (values) and 1e-9 (gradients); float32 is no further from float64 than PyTorch's own, times 4.
Factors are compared by what does not depend on LAPACK's choice of signs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

Pair = tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]
PAIRS: dict[str, Pair] = {}


def pair(name: str, ours: Callable[..., Any], theirs: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
    PAIRS[f"{name} {shapes}"] = (ours, theirs, shapes)


def positive(a: Any) -> Any:
    """Symmetric positive definite, with distinct eigenvalues."""
    return a @ a.mT + shift(a)


def shift(a: Any) -> Any:
    diagonal = np.diag(0.5 + np.arange(a.shape[-2]))
    return tg.asarray(diagonal, dtype=a.dtype) if isinstance(a, tg.Tensor) else torch.tensor(diagonal, dtype=a.dtype)


# Products.
for shapes in (
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((5, 1, 3, 4), (2, 4, 3)),
    ((3, 4), (2, 4, 3)),
    ((2, 3, 0), (0, 4)),
    ((0, 3, 4), (4, 2)),
):
    pair("matmul", tg.matmul, torch.matmul, *shapes)
for axes, *shapes in (
    (2, (2, 3, 4), (3, 4, 2)),
    (1, (3,), (3,)),
    (0, (2, 3), (2,)),
    (((0, -1), (2, 1)), (2, 3, 4), (5, 4, 2)),
):
    pair(
        f"tensordot {axes}",
        lambda x, y, n=axes: tg.tensordot(x, y, axes=n),
        lambda x, y, n=axes: torch.tensordot(x, y, dims=n),
        *shapes,
    )
for axis, *shapes in ((-1, (2, 1, 4), (3, 4)), (-2, (2, 3, 1), (3, 4)), (0, (3, 2), (3, 2)), (-1, (2, 0), (2, 0))):
    pair(
        f"vecdot {axis}",
        lambda x, y, n=axis: tg.vecdot(x, y, axis=n),
        lambda x, y, n=axis: torch.linalg.vecdot(x, y, dim=n),
        *shapes,
    )
pair("outer", tg.outer, torch.outer, (3,), (4,))
pair("cross", tg.cross, torch.linalg.cross, (2, 1, 3), (1, 4, 3))
for shapes in (((2, 3), (3, 2)), ((2,), (2, 3)), ((2, 1, 2), (3,)), ((), (2, 2))):
    pair("kron", tg.kron, torch.kron, *shapes)
for subscripts, *shapes in (
    ("ij,jk", (2, 3), (3, 4)),
    ("bthd,bshd->bhts", (2, 3, 2, 2), (2, 4, 2, 2)),
    ("ii->i", (3, 3)),
    ("iij,j->i", (3, 3, 2), (2,)),
    ("...ij,...jk->...ki", (2, 1, 2, 3), (3, 3, 1)),
    ("...ij->ij", (2, 2, 3)),
    ("i,j,k->kji", (2,), (3,), (2,)),
    ("ij,ij->", (2, 3), (1, 3)),
    ("ij,jk,kl,lm->im", (2, 3), (3, 2), (2, 4), (4, 2)),
    ("bi,bj,bij->b", (2, 3), (2, 2), (1, 3, 2)),
    ("Ab,bA", (2, 3), (3, 2)),
    (",i->i", (), (3,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    ("i...->...", (2, 3)),
):
    pair(
        f"einsum {subscripts}",
        lambda *xs, s=subscripts: tg.einsum(s, *xs),
        lambda *xs, s=subscripts: torch.einsum(s, *xs),
        *shapes,
    )
for offset, shape in itertools.product((0, 1, -2), ((3, 3), (2, 3, 4), (2, 4, 2))):
    pair(
        f"diagonal {offset}",
        lambda x, k=offset: tg.diagonal(x, offset=k),
        lambda x, k=offset: torch.diagonal(x, k, -2, -1),
        shape,
    )
    pair(
        f"trace {offset}",
        lambda x, k=offset: tg.trace(x, offset=k),
        lambda x, k=offset: torch.diagonal(x, k, -2, -1).sum(-1),
        shape,
    )

# Norms.
for order, keepdims, axis in itertools.product(
    (2, 1, 0, 3, 0.5, -1, -2, 1.5, math.inf, -math.inf), (False, True), (None, 0, -1, (0, 2), (1, 2, 0))
):
    pair(
        f"vector_norm {order} {keepdims} {axis}",
        lambda x, n=order, k=keepdims, a=axis: tg.vector_norm(x, ord=n, keepdims=k, axis=a),
        lambda x, n=order, k=keepdims, a=axis: torch.linalg.vector_norm(x, n, dim=a, keepdim=k),
        (2, 3, 4),
    )
MATRIX_ORDERS = ("fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf)
for order, keepdims, axis in itertools.product(MATRIX_ORDERS, (False, True), ((-2, -1), (1, 0), (0, 2))):
    pair(
        f"norm {order} {keepdims} {axis}",
        lambda x, n=order, k=keepdims, a=axis: tg.norm(x, ord=n, keepdims=k, axis=a),
        lambda x, n=order, k=keepdims, a=axis: torch.linalg.norm(x, n, dim=a, keepdim=k),
        (2, 3, 4),
    )
for order, shape in itertools.product(MATRIX_ORDERS, ((3, 3), (2, 2, 4), (0, 2, 2))):
    pair(
        f"matrix_norm {order}",
        lambda x, n=order: tg.matrix_norm(x, ord=n),
        lambda x, n=order: torch.linalg.matrix_norm(x, n),
        shape,
    )
for order, axis, shape in (
    (None, None, (2, 3, 4)),
    (None, 1, (2, 3)),
    (3, None, (4,)),
    (1, None, (2, 3)),
    (None, (0, 2), (2, 3, 4)),
):
    pair(
        f"norm {order} {axis}",
        lambda x, n=order, a=axis: tg.norm(x, ord=n, axis=a),
        lambda x, n=order, a=axis: torch.linalg.norm(x, n, dim=a),
        shape,
    )

# Systems and determinants.
for shapes in (
    ((3, 3), (3, 2)),
    ((2, 2, 2), (2, 2, 3)),
    ((2, 1, 2, 2), (3, 2, 1)),
    ((2, 2), (2,)),
    ((2, 2), (3, 2, 2)),
    ((0, 0), (0, 2)),
):
    pair("solve", lambda x, y: tg.solve(positive(x), y), lambda x, y: torch.linalg.solve(positive(x), y), *shapes)
SQUARE: tuple[tuple[int, ...], ...] = ((4, 4), (2, 3, 3), (1, 1), (0, 0), (0, 2, 2))
for shape in SQUARE:
    pair("inv", lambda x: tg.inv(positive(x)), lambda x: torch.linalg.inv(positive(x)), shape)
    pair("det", tg.det, torch.linalg.det, shape)
    pair("slogdet", lambda x: tg.slogdet(x).logabsdet, lambda x: torch.linalg.slogdet(x).logabsdet, shape)
    for n in (0, 1, 2, 3, 7, -1, -3):
        pair(
            f"matrix_power {n}",
            lambda x, n=n: tg.matrix_power(positive(x), n),
            lambda x, n=n: torch.linalg.matrix_power(positive(x), n),
            shape,
        )
    for upper in (False, True):
        pair(
            f"cholesky {upper}",
            lambda x, u=upper: tg.cholesky(positive(x), upper=u),
            lambda x, u=upper: torch.linalg.cholesky(positive(x), upper=u),
            shape,
        )
    pair("eigvalsh", lambda x: tg.eigvalsh(positive(x)), lambda x: torch.linalg.eigvalsh(positive(x)), shape)
    pair(
        "eigh",
        lambda x: tg.square(tg.eigh(positive(x))[1]) * tg.sin(tg.eigh(positive(x))[0])[..., None, :],
        lambda x: torch.linalg.eigh(positive(x))[1] ** 2 * torch.sin(torch.linalg.eigh(positive(x))[0])[..., None, :],
        shape,
    )
    # Not made symmetric first: which triangle is read, and how the gradient is spread over both.
    pair("eigvalsh as given", tg.eigvalsh, torch.linalg.eigvalsh, shape)
    pair(
        "cholesky as given",
        lambda x: tg.cholesky(x + 9 * shift(x)),
        lambda x: torch.linalg.cholesky(x + 9 * shift(x)),
        shape,
    )
    pair(
        "cholesky upper as given",
        lambda x: tg.cholesky(x + 9 * shift(x), upper=True),
        lambda x: torch.linalg.cholesky(x + 9 * shift(x), upper=True),
        shape,
    )
for shape in ((4, 2), (2, 3), (2, 3, 3), (1, 1), (0, 2, 3), (2, 0)):
    if 0 not in shape[-2:]:
        pair("pinv", tg.pinv, torch.linalg.pinv, shape)
        pair(
            "pinv of rank 1",
            lambda x: tg.pinv(x[..., :1] * x[..., :1, :]),
            lambda x: torch.linalg.pinv(x[..., :1] * x[..., :1, :]),
            shape,
        )
    pair("svdvals", tg.svdvals, torch.linalg.svdvals, shape)
    for full in (False, True):
        pair(
            f"svd {full}",
            lambda x, f=full: (
                (tg.svd(x, full_matrices=f).U[..., : min(x.shape[-2:])] * tg.sin(tg.svd(x).S)[..., None, :])
                @ tg.svd(x, full_matrices=f).Vh[..., : min(x.shape[-2:]), :]
            ),
            lambda x, f=full: (
                (
                    torch.linalg.svd(x, full_matrices=f).U[..., : min(x.shape[-2:])]
                    * torch.sin(torch.linalg.svd(x).S)[..., None, :]
                )
                @ torch.linalg.svd(x, full_matrices=f).Vh[..., : min(x.shape[-2:]), :]
            ),
            shape,
        )
    for mode in ("reduced", "complete"):
        if mode == "complete" and shape[-2] > shape[-1]:
            continue  # PyTorch refuses it
        pair(
            f"qr {mode}",
            lambda x, m=mode: tg.square(tg.qr(x, mode=m).Q) @ tg.abs(tg.qr(x, mode=m).R),
            lambda x, m=mode: torch.linalg.qr(x, m).Q ** 2 @ torch.linalg.qr(x, m).R.abs(),
            shape,
        )


def inputs(name: str, dtype: str) -> list[np.ndarray]:
    shapes = PAIRS[name][2]
    return [np.random.default_rng([3, i, len(name)]).normal(size=shape).astype(dtype) for i, shape in enumerate(shapes)]


def ours_at(name: str, arrays: list[np.ndarray], g: np.ndarray, second: bool = True) -> list[np.ndarray]:
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    out = PAIRS[name][0](*xs)
    first = tg.grad(out, xs, g.astype(out.dtype), create_graph=True)
    plain = tg.grad(PAIRS[name][0](*xs), xs, g.astype(out.dtype))
    for a, b in zip(first, plain, strict=True):
        np.testing.assert_allclose(
            a.numpy(),
            b.numpy(),
            rtol=1e-5 if out.dtype == "float32" else 1e-12,
            atol=1e-5 if out.dtype == "float32" else 1e-12,
        )
    total = sum((tg.square(d).sum() for d in first), start=tg.zeros((), dtype=out.dtype))
    seconds = tg.grad(total, xs) if second and total.requires_grad else [tg.zeros_like(x) for x in xs]
    return [t.numpy() for t in (out, *first, *seconds)]


def theirs_at(name: str, arrays: list[np.ndarray], g: np.ndarray, second: bool = True) -> list[np.ndarray]:
    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    out = PAIRS[name][1](*xs)
    first = torch.autograd.grad(out, xs, torch.tensor(g, dtype=out.dtype), create_graph=True, allow_unused=True)
    first = [torch.zeros_like(x) if d is None else d for d, x in zip(first, xs, strict=True)]
    total = sum((d**2).sum() for d in first)
    seconds = torch.autograd.grad(total, xs, allow_unused=True) if second and total.requires_grad else [None] * len(xs)
    seconds = [torch.zeros_like(x) if d is None else d for d, x in zip(seconds, xs, strict=True)]
    return [t.detach().numpy(force=True) for t in (out, *first, *seconds)]


def cotangent(name: str, arrays: list[np.ndarray]) -> np.ndarray:
    out = PAIRS[name][0](*(tg.asarray(a) for a in arrays))
    return np.random.default_rng(4).normal(size=out.shape)


@pytest.mark.parametrize("name", PAIRS)
def test_float64_agrees(name: str) -> None:
    arrays = inputs(name, "float64")
    g = cotangent(name, arrays)
    got, expected = ours_at(name, arrays, g), theirs_at(name, arrays, g)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if b.size:
            tolerance = 1e-10 if i == 0 else 1e-9
            assert np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max()), i


@pytest.mark.parametrize("name", PAIRS)
def test_float32_is_as_exact(name: str) -> None:
    arrays = inputs(name, "float32")
    wide = [a.astype("float64") for a in arrays]
    g = cotangent(name, arrays).astype("float32")
    truth = theirs_at(name, wide, g.astype("float64"), second=False)
    got, expected = ours_at(name, arrays, g, second=False), theirs_at(name, arrays, g, second=False)
    for i, (a, b, t) in enumerate(zip(got, expected, truth, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if t.size:
            rounding = 2.0**-23 * max(1.0, np.abs(t).max())
            assert np.abs(a - t).max() <= 4 * max(np.abs(b - t).max(), rounding), i
