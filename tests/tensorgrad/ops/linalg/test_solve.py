"""solve, inv, matrix_power, pinv, matrix_rank: shapes, ranks, and errors that name the matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng([5, *shape]).normal(size=shape)


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        ((2, 2), (2,), (2,)),
        ((3, 2, 2), (2,), (3, 2)),
        ((3, 2, 2), (2, 1), (3, 2, 1)),
        ((2, 2, 2), (2, 2), (2, 2, 2)),  # a matrix to each, not a vector to each
        ((2, 2), (4, 2, 3), (4, 2, 3)),
        ((3, 1, 2, 2), (4, 2, 5), (3, 4, 2, 5)),
        ((0, 2, 2), (2, 3), (0, 2, 3)),
        ((0, 0), (0,), (0,)),
    ],
)
def test_which_shapes_solve_takes(a: Any, b: Any, out: Any) -> None:
    x, y = tg.tensor(normal(*a), requires_grad=True), tg.tensor(normal(*b), requires_grad=True)
    z = tg.solve(x, y)
    assert z.shape == out
    column = y.numpy()[:, None] if len(b) == 1 else y.numpy()
    product = x.numpy() @ (z.numpy()[..., None] if len(b) == 1 else z.numpy())
    np.testing.assert_allclose(product, np.broadcast_to(column, product.shape), atol=1e-12)
    dx, dy = tg.grad(z.sum(), [x, y])
    assert (dx.shape, dy.shape) == (a, b)


@pytest.mark.parametrize("needed", ["x", "y"])
def test_solve_with_one_constant(needed: str) -> None:
    a, b = normal(3, 3), normal(3, 2)
    both = [tg.tensor(v, requires_grad=True) for v in (a, b)]
    expected = tg.grad(tg.solve(*both).sum(), both)
    if needed == "x":
        x = tg.tensor(a, requires_grad=True)
        np.testing.assert_array_equal(tg.grad(tg.solve(x, b).sum(), x)[0].numpy(), expected[0].numpy())
    else:
        y = tg.tensor(b, requires_grad=True)
        np.testing.assert_array_equal(tg.grad(tg.solve(a, y).sum(), y)[0].numpy(), expected[1].numpy())


SINGULAR = np.stack([np.eye(2), [[1.0, 2.0], [2.0, 4.0]]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tg.inv(SINGULAR), r"^inv: expected invertible .* shape \(2, 2, 2\), whose matrix at \(1,\) is"),
        (lambda: tg.inv(SINGULAR[1]), r"^inv: expected invertible matrices, got shape \(2, 2\), which is not: add"),
        (lambda: tg.solve(SINGULAR, np.ones(2)), r"^solve: expected invertible .* at \(1,\) is not: add a multiple"),
        (lambda: tg.matrix_power(SINGULAR, -2), r"^inv: expected invertible"),
        (lambda: tg.pinv(np.full((2, 2), np.nan)), "^pinv: expected finite matrices, .*: look for nan and inf"),
        (lambda: tg.matrix_rank(np.full((2, 2), np.nan)), "^matrix_rank: expected finite matrices"),
    ],
)  # fmt: skip
def test_matrices_that_do_not_do(call: Any, message: str) -> None:
    with pytest.raises(tg.LinAlgError, match=message) as caught:
        call()
    assert isinstance(caught.value, np.linalg.LinAlgError)  # which NumPy's users catch


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tg.inv(np.ones((2, 3))), tg.ShapeError, r"^inv: expected square matrices .* got shape \(2, 3\)"),
        (lambda: tg.inv(np.ones(3)), tg.ShapeError, r"^inv: expected matrices \(\.\.\., M, N\), got shape \(3,\)"),
        (lambda: tg.inv(np.ones((2, 2), int)), tg.DTypeError, "^inv: expected a float dtype, got int64"),
        (lambda: tg.inv(np.ones((2, 2), "float16")), tg.DTypeError, "^inv: expected float32 or float64, got float16"),
        (lambda: tg.inv([[1.0]]), tg.DTypeError, "^inv: expected a Tensor or an array, got list"),
        (lambda: tg.solve(np.eye(2), np.ones(3)), tg.ShapeError, r"^solve: .*got \(2, 2\) and \(3,\)"),
        (lambda: tg.solve(np.eye(2), np.ones((3, 2))), tg.ShapeError, r"^solve: .*got \(2, 2\) and \(3, 2\)"),
        (lambda: tg.solve(np.ones((2, 2, 2)), np.ones((3, 2, 2))), tg.ShapeError, r"^solve: .*leading axes broadcast"),
        (lambda: tg.solve(np.eye(2), np.array(1.0)), tg.ShapeError, r"^solve: .*got \(2, 2\) and \(\)"),
        (lambda: tg.solve(np.eye(2), 1.0), tg.ShapeError, r"^solve: .*got \(2, 2\) and \(\)"),
        (lambda: tg.solve(np.ones((2, 3)), np.ones(3)), tg.ShapeError, "^solve: expected square matrices"),
        (lambda: tg.solve(np.eye(2), np.ones(2, "float32")), tg.DTypeError, "^solve: expected operands of one dtype"),
        (lambda: tg.matrix_power(np.ones((2, 3)), 2), tg.ShapeError, "^matrix_power: expected square matrices"),
        (lambda: tg.matrix_power(np.eye(2), 0.5), tg.ShapeError, "^matrix_power: expected n to be an integer, got 0.5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_powers_of_integers() -> None:
    a = np.array([[1, 1], [1, 0]])
    np.testing.assert_array_equal(tg.matrix_power(a, 10), [[89, 55], [55, 34]])
    np.testing.assert_array_equal(tg.matrix_power(a, 0), np.eye(2))
    assert tg.matrix_power(a, 0).dtype == a.dtype


def test_the_power_0_is_a_constant() -> None:
    x = tg.tensor(np.full((2, 2), np.nan), requires_grad=True)
    out = tg.matrix_power(x, 0)
    np.testing.assert_array_equal(out.numpy(), np.eye(2))
    np.testing.assert_array_equal(tg.grad(out.sum(), x)[0].numpy(), np.zeros((2, 2)))


def test_pinv_of_every_rank_has_penrose_s_properties() -> None:
    for rank in range(4):
        a = normal(4, rank) @ normal(rank, 3)
        y = tg.pinv(a)
        for product in (a @ y, y @ a):
            np.testing.assert_allclose(product, product.T, atol=1e-12)
            np.testing.assert_allclose(product @ product, product, atol=1e-12)
        np.testing.assert_allclose(a @ y @ a, a, atol=1e-12)
        np.testing.assert_allclose(y @ a @ y, y, atol=1e-12)
        assert tg.matrix_rank(a) == rank


def test_pinv_is_differentiable_where_the_rank_stays() -> None:
    tg.check_grads(lambda x, y: tg.pinv(x @ y), normal(4, 2), normal(2, 3), order=2)


def test_rank_s_tolerance() -> None:
    x = np.stack([np.diag([4.0, 1.0, 1e-20]), np.diag([4.0, 3.0, 2.0])])
    np.testing.assert_array_equal(tg.matrix_rank(x), [2, 3])
    np.testing.assert_array_equal(tg.matrix_rank(x, rtol=0.6), [1, 2])
    np.testing.assert_array_equal(tg.matrix_rank(x, rtol=tg.tensor([0.0, 0.8], dtype="float64")), [3, 1])
    assert tg.matrix_rank(np.zeros((2, 3))) == 0
    assert tg.matrix_rank(np.zeros((0, 3))) == 0
    assert tg.matrix_rank(tg.tensor(x, requires_grad=True)).requires_grad is False
