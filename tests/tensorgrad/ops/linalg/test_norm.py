"""Norms where they have no derivative (PyTorch's choices), norms of nothing, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

ORDERS = (2, 1, 0, 3, 0.5, 1.5, 4, -1, -2, math.inf, -math.inf)


def gradient(order: float, at: list[float]) -> np.ndarray:
    x = tg.tensor(np.array(at), requires_grad=True)
    (dx,) = tg.grad(tg.vector_norm(x, ord=order), x)
    (recorded,) = tg.grad(tg.vector_norm(x, ord=order), x, create_graph=True)
    np.testing.assert_array_equal(recorded.numpy(), dx.numpy())
    return dx.numpy()


@pytest.mark.parametrize("order", ORDERS)
def test_the_gradient_at_0_is_0(order: float) -> None:
    np.testing.assert_array_equal(gradient(order, [0.0, 0.0, -0.0]), 0)


@pytest.mark.oracle
@pytest.mark.parametrize("order", [n for n in ORDERS if n])  # PyTorch's norm of order 0 has no gradient
@pytest.mark.parametrize(
    "at",
    [
        [0.0, 0.0],
        [-0.0, 2.0, -1.0],
        [3.0, -3.0, 1.0, -1.0, 1.0],
        [0.0, 0.0, -3.0],
        [math.nan, 1.0],
        [math.nan, math.nan],
        [1e-200, 2e-200],
        [1e200, -1e200],
    ],
)
def test_conventions_agree_with_pytorch(order: float, at: list[float]) -> None:
    torch = pytest.importorskip("torch")
    t = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    expected = torch.linalg.vector_norm(t, order)
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        np.testing.assert_allclose(tg.vector_norm(np.array(at), ord=order), expected.item(), rtol=1e-14)
        (dt,) = torch.autograd.grad(expected, t)
        # For nan ours is nan, PyTorch's 0; powers of 1e-200 underflow in its formulas, not in ours.
        if np.isfinite(expected.item()) and np.isfinite(dt.numpy()).all():
            np.testing.assert_allclose(gradient(order, at), dt.numpy(), rtol=1e-13)


def test_norms_of_nothing() -> None:
    for order in (2, 1, 0, 3):
        np.testing.assert_array_equal(tg.vector_norm(np.zeros((2, 0)), axis=1, ord=order), np.zeros(2))
    for order in (math.inf, -1, -math.inf):
        with pytest.raises(tg.ShapeError, match=rf"^vector_norm: expected at least one element for ord={order}, got"):
            tg.vector_norm(np.zeros((2, 0)), axis=1, ord=order)
        assert tg.vector_norm(np.zeros((0, 2)), axis=1, ord=order).shape == (0,)
    for shape in ((0, 3), (3, 0), (0, 0)):
        for order in ("fro", "nuc", 2, 1, math.inf):
            assert tg.matrix_norm(np.zeros(shape), ord=order) == 0
        with pytest.raises(
            tg.ShapeError, match=r"^matrix_norm: expected at least one element for ord=-2, got matrices"
        ):
            tg.matrix_norm(np.zeros(shape), ord=-2)
        assert tg.matrix_norm(np.zeros((0, 2, 3)), ord=-2).shape == (0,)


def test_ties_share() -> None:
    x = tg.tensor(np.array([[1.0, -1.0], [1.0, 1.0]]), requires_grad=True)
    for order in (1, -1, math.inf, -math.inf):
        (dx,) = tg.grad(tg.matrix_norm(x, ord=order), x)
        np.testing.assert_array_equal(dx.numpy(), [[0.5, -0.5], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tg.vector_norm(np.ones(2, int)), tg.DTypeError, "^vector_norm: expected a float dtype"),
        (lambda: tg.vector_norm(np.ones(2), ord="fro"), tg.DTypeError, "^vector_norm: expected ord to be a Py"),
        (lambda: tg.vector_norm(np.ones(2), axis=1), tg.ShapeError, "^vector_norm: expected axis in"),
        (lambda: tg.matrix_norm(np.ones(2)), tg.ShapeError, "^matrix_norm: expected matrices"),
        (
            lambda: tg.matrix_norm(np.ones((2, 2)), ord=3),
            tg.ArgumentError,
            '^matrix_norm: expected ord "fro", .* got 3',
        ),
        (lambda: tg.norm(np.ones((2, 2)), ord="x"), tg.ArgumentError, "^norm: expected ord"),
        (lambda: tg.norm(np.ones(2), ord="nuc"), tg.DTypeError, "^norm: expected ord to be a Python number"),
        (lambda: tg.norm(np.ones((2, 2, 2)), ord=2), tg.ShapeError, "^norm: expected a vector or a matrix for ord=2"),
        (lambda: tg.norm(np.ones((2, 2, 2)), axis=(0, 1, 2)), tg.ShapeError, "^norm: expected one axis or two"),
        (lambda: tg.norm(np.ones((2, 2)), axis=(0, 0)), tg.ShapeError, "^norm: expected each axis once"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
