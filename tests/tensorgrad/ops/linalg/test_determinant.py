"""det with gradients at singular matrices, of every rank; slogdet where det leaves the numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tensorgrad as tg


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng([6, *shape]).normal(size=shape)


def of_rank(rank: int, size: int) -> np.ndarray:
    return normal(size, rank) @ normal(rank, size)


def minors(a: np.ndarray) -> np.ndarray:
    """The cofactors by their definition."""
    out = np.zeros_like(a)
    for i, j in itertools.product(range(len(a)), repeat=2):
        out[i, j] = (-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1))
    return out


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_gradients_of_both_orders_are_exact_for_every_rank(size: int, lost: int) -> None:
    a = of_rank(max(size - lost, 0), size)
    x = tg.tensor(a, requires_grad=True)
    (dx,) = tg.grad(tg.det(x), x, create_graph=True)
    np.testing.assert_allclose(dx.numpy(), minors(a), atol=1e-12)
    direction = normal(size, size, 1)[..., 0]
    (second,) = tg.grad(dx, x, direction, create_graph=True)
    # det is a polynomial in each element, so the cofactors along a line are one too: differences of order 4 of
    # cofactors, of degree 3 at most, leave only rounding.
    steps = [(a + t * direction, w) for t, w in ((1, 2 / 3), (-1, -2 / 3), (2, -1 / 12), (-2, 1 / 12))]
    expected = sum(w * minors(moved) for moved, w in steps)
    np.testing.assert_allclose(second.numpy(), expected, atol=1e-11)
    plain = tg.tensor(a, requires_grad=True)
    (first,) = tg.grad(tg.det(plain), plain, create_graph=True)
    np.testing.assert_allclose(tg.grad(first, plain, direction)[0].numpy(), second.numpy(), atol=1e-13)


@pytest.mark.parametrize("a", [np.eye(3), -np.eye(3), np.zeros((3, 3)), np.diag([2.0, 2.0, 0.0]), np.ones((3, 3))])
def test_equal_singular_values(a: np.ndarray) -> None:
    x = tg.tensor(a, requires_grad=True)
    np.testing.assert_allclose(tg.grad(tg.det(x), x)[0].numpy(), minors(a), atol=1e-14)
    expected = np.zeros((3, 3, 3, 3))
    for i, j, k, n in itertools.product(range(3), repeat=4):
        if i != k and j != n:
            moved = np.zeros((3, 3))
            moved[i, j], moved[k, n] = 1, 1
            rest_row, rest_column = 3 - i - k, 3 - j - n
            moved[rest_row, rest_column] = a[rest_row, rest_column]
            expected[i, j, k, n] = np.linalg.det(moved)
    np.testing.assert_allclose(tg.hessian(tg.det, a).numpy(), expected, atol=1e-14)


def test_one_singular_matrix_of_several() -> None:
    a = np.stack([of_rank(2, 3), normal(3, 3), np.zeros((3, 3))])
    tg.check_grads(tg.det, a[:2], order=2)
    x = tg.tensor(a, requires_grad=True)
    expected = np.stack([minors(m) for m in a])
    np.testing.assert_allclose(tg.grad(tg.det(x).sum(), x)[0].numpy(), expected, atol=1e-12)


def test_the_third_and_fourth_order() -> None:
    tg.check_grads(tg.det, normal(3, 3), order=3)
    tg.check_grads(tg.det, normal(2, 4, 4), order=4, tolerance=1e-6)


def test_the_third_order_of_a_singular_matrix_is_refused() -> None:
    x = tg.tensor(of_rank(1, 2) * 0, requires_grad=True)
    (first,) = tg.grad(tg.det(x), x, create_graph=True)
    (second,) = tg.grad((first * first).sum(), x, create_graph=True)
    with pytest.raises(tg.LinAlgError, match=r"^det: expected invertible matrices to differentiate three times"):
        tg.grad(second.sum(), x)


def test_a_large_determinant_s_gradient_is_the_inverse_s() -> None:
    a = normal(60, 60)
    x = tg.tensor(a, requires_grad=True)
    got = tg.grad(tg.det(x), x)[0].numpy()
    expected = np.linalg.det(a) * np.linalg.inv(a).T
    assert np.abs(got - expected).max() < 1e-11 * np.abs(expected).max()


def test_slogdet_reaches_further() -> None:
    x = tg.tensor(-np.eye(401) * 1e10, requires_grad=True)
    sign, logabsdet = tg.slogdet(x)
    assert sign.item() == -1
    np.testing.assert_allclose(logabsdet.item(), 401 * np.log(1e10), rtol=1e-13)
    np.testing.assert_allclose(tg.grad(logabsdet, x)[0].numpy(), np.eye(401) * -1e-10, rtol=1e-13)
    result = tg.slogdet(np.stack([np.eye(2), np.ones((2, 2))]))
    np.testing.assert_array_equal(result.sign, [1, 0])
    np.testing.assert_array_equal(result.logabsdet, [0, -np.inf])


def test_slogdet_of_a_singular_matrix_has_no_gradient() -> None:
    x = tg.tensor(np.stack([np.eye(2), np.ones((2, 2))]), requires_grad=True)
    out = tg.slogdet(x).logabsdet
    with pytest.raises(
        tg.LinAlgError, match=r"^slogdet: expected invertible .* singular one in shape \(2, 2, 2\): add"
    ):
        tg.grad(out.sum(), x)


def test_what_does_not_fit_is_named() -> None:
    for op in (tg.det, tg.slogdet):
        with pytest.raises(tg.ShapeError, match=f"^{op.__name__}: expected square"):
            op(np.ones((2, 3)))
        with pytest.raises(tg.DTypeError, match=f"^{op.__name__}: expected float32 or float64"):
            op(np.ones((2, 2), "float16"))
    x = tg.tensor(np.full((2, 2), np.nan), requires_grad=True)
    with np.errstate(invalid="ignore"):
        out = tg.det(x)
    assert np.isnan(out.item())
    with pytest.raises(tg.LinAlgError, match=r"^det: expected finite matrices"):
        tg.grad(out, x)


def test_the_third_derivative_of_det() -> None:
    matrix = np.array([[1.3, 0.2, -0.4], [0.1, 0.9, 0.3], [-0.2, 0.5, 1.1]])
    tg.check_grads(tg.det, matrix, order=3)
