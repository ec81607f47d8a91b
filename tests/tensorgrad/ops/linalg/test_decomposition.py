"""The decompositions: what they return, what is kept and shared, where gradients end, and errors that say so."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng([7, *shape]).normal(size=shape)


def symmetric(*shape: int) -> np.ndarray:
    a = normal(*shape)
    return a + a.swapaxes(-1, -2)


@pytest.mark.parametrize(
    ("op", "names"),
    [
        (tg.qr, ["Q", "R"]),
        (tg.eigh, ["eigenvalues", "eigenvectors"]),
        (tg.svd, ["U", "S", "Vh"]),
        (tg.slogdet, ["sign", "logabsdet"]),
    ],
)
def test_results_are_named_tuples(op: Any, names: list[str]) -> None:
    for a in (symmetric(3, 3), tg.tensor(symmetric(3, 3)), tg.tensor(symmetric(3, 3), requires_grad=True)):
        result = op(a)
        assert isinstance(result, tuple)
        assert list(result._fields) == names
        for name, part in zip(names, result, strict=True):
            assert getattr(result, name) is part
            assert type(part) is type(a)
            if type(part) is tg.Tensor and part.requires_grad:
                assert part.node is not None
                assert part.node.op == op.__name__


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3), (2, 0), (0, 2), (0, 0), (2, 3, 2), (0, 3, 2)])
def test_factors_multiply_to_the_matrix(shape: tuple[int, ...]) -> None:
    a = normal(*shape)
    *lead, m, n = shape
    for mode, k in (("reduced", min(m, n)), ("complete", m)):
        q, r = tg.qr(a, mode=mode)
        assert (q.shape, r.shape) == ((*lead, m, k), (*lead, k, n))
        np.testing.assert_allclose(q @ r, a, atol=1e-13)
        np.testing.assert_allclose(q.swapaxes(-1, -2) @ q, np.broadcast_to(np.eye(k), (*lead, k, k)), atol=1e-13)
        np.testing.assert_array_equal(r, np.triu(r))
    k = min(m, n)
    for full in (False, True):
        u, s, vh = tg.svd(a, full_matrices=full)
        assert (u.shape, s.shape, vh.shape) == ((*lead, m, m if full else k), (*lead, k), (*lead, n if full else k, n))
        np.testing.assert_allclose(u[..., :k] * s[..., None, :] @ vh[..., :k, :], a, atol=1e-13)
        np.testing.assert_allclose(tg.svdvals(a), s, atol=1e-13)


def test_which_triangle_is_read() -> None:
    a = normal(3, 3) + 5 * np.eye(3)
    lower, upper = np.tril(a) + np.tril(a, -1).T, np.triu(a) + np.triu(a, 1).T
    factor = tg.cholesky(a)
    np.testing.assert_allclose(factor @ factor.T, lower, atol=1e-13)
    factor = tg.cholesky(a, upper=True)
    np.testing.assert_allclose(factor.T @ factor, upper, atol=1e-13)
    np.testing.assert_array_equal(factor, np.triu(factor))
    for found in (tg.eigvalsh(a), tg.eigh(a).eigenvalues):
        np.testing.assert_allclose(found, np.sort(np.linalg.eigvals(lower).real), atol=1e-13)


def test_values_have_gradients_where_they_meet_and_vectors_have_none() -> None:
    x = tg.tensor(np.eye(3), requires_grad=True)
    weights = np.array([1.0, 2.0, 4.0])
    for values in (tg.eigh(x).eigenvalues, tg.eigvalsh(x), tg.svdvals(x), tg.svd(x).S):
        (dx,) = tg.grad((values * weights).sum(), x)
        np.testing.assert_allclose(np.sort(np.diag(dx.numpy())), weights)
    for vectors in (tg.eigh(x).eigenvectors, tg.svd(x).U, tg.svd(x).Vh):
        with np.errstate(divide="ignore", invalid="ignore"):
            (dx,) = tg.grad((vectors * normal(3, 3)).sum(), x)
        assert not np.isfinite(dx.numpy()).all()


@pytest.mark.parametrize("order", [False, True])
def test_joint_gradients_of_all_factors(order: bool) -> None:
    """A function of all factors at once that is known without them: x itself, and the polar factor of x."""
    x = tg.tensor(normal(3, 3), requires_grad=True)
    g = normal(3, 3, 1)[..., 0]
    u, s, vh = tg.svd(x)
    (dx,) = tg.grad((u * s[None]) @ vh, x, g, create_graph=order)
    np.testing.assert_allclose(dx.numpy(), g, atol=1e-12)
    q, r = tg.qr(x)
    (dx,) = tg.grad(q @ r, x, g, create_graph=order)
    np.testing.assert_allclose(dx.numpy(), g, atol=1e-12)
    square = x @ x.T
    w, v = tg.eigh(square)
    (dx,) = tg.grad((v * w[None]) @ v.T, x, g, create_graph=order)
    np.testing.assert_allclose(dx.numpy(), (g + g.T) @ x.numpy(), atol=1e-12)


def test_nothing_is_decomposed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = np.linalg.svd

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(np.linalg, "svd", counted)
    x = tg.tensor(normal(3, 2), requires_grad=True)
    u, s, vh = tg.svd(x, full_matrices=False)
    out = (u * u).sum() + (s * s * s).sum() + (vh * vh * vh).sum()
    (dx,) = tg.grad(out, x, create_graph=True)
    tg.grad((dx * dx).sum(), x, create_graph=True)
    assert len(calls) == 1


@pytest.mark.parametrize("op", [tg.qr, tg.svd, tg.eigh, tg.slogdet])
def test_factors_leave_no_cycle(op: Any) -> None:
    def run() -> None:
        x = tg.tensor(symmetric(3, 3), requires_grad=True)
        out = sum((part * part).sum() for part in op(x))
        (dx,) = tg.grad(out, x, create_graph=True)
        tg.grad((dx * dx).sum(), x)

    run()
    gc.collect()
    gc.disable()
    try:
        run()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_basis_of_the_rest_has_no_gradient() -> None:
    x = tg.tensor(normal(4, 2), requires_grad=True)
    message = "expected a gradient of the first 2 vectors of {} only, got one of all 4: the others are any basis"
    with pytest.raises(tg.GraphError, match="^qr: " + message.format("Q") + '.*; use mode="reduced"'):
        tg.grad(tg.qr(x, mode="complete").Q.sum(), x)
    with pytest.raises(tg.GraphError, match="^svd: " + message.format("U") + ".*; use full_matrices=False"):
        tg.grad(tg.svd(x).U.sum(), x)
    y = tg.tensor(normal(2, 4), requires_grad=True)
    with pytest.raises(tg.GraphError, match="^svd: " + message.format("Vh")):
        tg.grad(tg.svd(y).Vh.sum(), y)
    # R's other rows are 0 whatever x is.
    np.testing.assert_array_equal(tg.grad(tg.qr(x, mode="complete").R[2:].sum(), x)[0].numpy(), 0)


NOT = np.stack([np.eye(2), -np.eye(2)])
NAN = np.full((2, 2), np.nan)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tg.cholesky(NOT[1]), tg.LinAlgError, r"cholesky: expected positive .* \(2, 2\), which is not: add"),
        (lambda: tg.cholesky(NOT, upper=True), tg.LinAlgError, r"cholesky: .*whose matrix at \(1,\) is not: add"),
        (lambda: tg.svd(NAN), tg.LinAlgError, "svd: expected finite matrices"),
        (lambda: tg.svdvals(NAN), tg.LinAlgError, "svdvals: expected finite matrices"),
        (lambda: tg.qr(NAN, mode="r"), tg.ArgumentError, 'qr: expected mode to be one of "reduced", "complete"'),
        (lambda: tg.cholesky(np.ones((2, 3))), tg.ShapeError, "cholesky: expected square matrices"),
        (lambda: tg.eigh(np.ones((2, 3))), tg.ShapeError, "eigh: expected square matrices"),
        (lambda: tg.eigvalsh(np.ones((2, 3))), tg.ShapeError, "eigvalsh: expected square matrices"),
        (lambda: tg.svd(np.ones(3)), tg.ShapeError, "svd: expected matrices"),
        (lambda: tg.svdvals(np.ones((2, 2), "float16")), tg.DTypeError, "svdvals: expected float32 or float64"),
        (lambda: tg.qr(np.ones((2, 2), int)), tg.DTypeError, "qr: expected a float dtype, got int64"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match="^" + message):
        call()


@pytest.mark.parametrize("shape", [(3, 2), (2, 2), (2, 3)])
def test_qr_of_dependent_columns_has_no_gradient(shape: tuple[int, ...]) -> None:
    x = tg.tensor(np.zeros(shape), requires_grad=True)
    q, r = tg.qr(x)
    np.testing.assert_array_equal(r.numpy(), 0)
    for part in (q, r):
        with pytest.raises(tg.LinAlgError, match=r"^qr: expected independent columns to differentiate"):
            tg.grad(part.sum(), x)


def test_vectors_of_the_value_0() -> None:
    """They have a gradient in a square matrix with only one value 0, and none in a matrix that is not square."""
    a = np.diag([3.0, 1.0, 0.0])
    tg.check_grads(lambda x: tg.einsum("a,b->ab", tg.svd(x).U[:, 0], tg.svd(x).Vh[0]), a, order=1)
    x = tg.tensor(np.eye(3)[:, :2] * [1.0, 0.0], requires_grad=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        (dx,) = tg.grad(tg.square(tg.svd(x, full_matrices=False).U[:, 1]).sum(), x)
    assert not np.isfinite(dx.numpy()).all()
