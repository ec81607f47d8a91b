"""Distances: gradients where vectors meet, ties, vectors shorter than eps, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


def gradients(f: Any, *arrays: Any) -> list[np.ndarray]:
    xs = [tg.tensor(np.array(a, np.float64), requires_grad=True) for a in arrays]
    out = f(*xs)
    return [g.numpy() for g in tg.grad(out, xs, np.ones(out.shape))]


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("create_graph", [False, True])
def test_equal_rows_have_distance_and_gradient_zero(p: float, create_graph: bool) -> None:
    x = tg.tensor(np.ones((2, 3)), requires_grad=True)
    for out in (tg.cdist(x, np.ones((2, 3)), p=p), tg.pairwise_distance(x, np.ones((2, 3)), p=p, eps=0.0)):
        np.testing.assert_array_equal(out.numpy(), 0)
        (dx,) = tg.grad(out, x, np.ones(out.shape), create_graph=create_graph)
        np.testing.assert_array_equal(dx.numpy(), 0)


def test_one_pair_at_distance_zero_leaves_the_others_their_gradient() -> None:
    x, y = np.array([[0.0, 0.0]]), np.array([[0.0, 0.0], [3.0, 4.0]])
    dx, dy = gradients(tg.cdist, x, y)
    np.testing.assert_allclose(dx, [[-0.6, -0.8]], rtol=1e-15)
    np.testing.assert_allclose(dy, [[0, 0], [0.6, 0.8]], rtol=1e-15)
    (dx,) = gradients(lambda x: tg.cdist(x, x), y)
    np.testing.assert_allclose(dx, [[-1.2, -1.6], [1.2, 1.6]], rtol=1e-15)


def test_a_tie_for_the_largest_coordinate_shares_the_gradient() -> None:
    dx, _ = gradients(lambda x, y: tg.cdist(x, y, p=math.inf), [[2.0, -2.0, 1.0]], [[0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(dx, [[0.5, -0.5, 0]])


def test_order_0_counts_what_differs() -> None:
    x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(tg.cdist(x, y, p=0), [[2, 0]])
    np.testing.assert_array_equal(gradients(lambda x: tg.cdist(x, y, p=0), x)[0], 0)


def test_vectors_shorter_than_eps_are_divided_by_it() -> None:
    x = np.array([[0.0, 0.0], [3e-13, 4e-13]])
    np.testing.assert_allclose(tg.normalize(x), x / 1e-12, rtol=1e-15)
    (dx,) = gradients(lambda x: tg.normalize(x), x)
    np.testing.assert_allclose(dx, np.full((2, 2), 1e12), rtol=1e-15)
    y = np.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(tg.cosine_similarity(x, y), [0, 4e-5], rtol=1e-15)
    dx, dy = gradients(tg.cosine_similarity, x, y)
    np.testing.assert_allclose(dx, y / 1e-8, rtol=1e-15)
    np.testing.assert_allclose(dy, [[0, 0], [3e-5, 0]], rtol=1e-12, atol=1e-20)


def test_normalize_by_the_largest_element() -> None:
    np.testing.assert_array_equal(tg.normalize(np.array([[1.0, -4.0, 2.0]]), p=math.inf), [[0.25, -1, 0.5]])
    (dx,) = gradients(lambda x: tg.normalize(x, p=math.inf)[:, :1], [[1.0, -4.0, 2.0]])
    np.testing.assert_array_equal(dx, [[0.25, 0.0625, 0]])


def test_cosines_are_those_of_the_broadcast_shape() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 1, 3)), np.random.default_rng(1).normal(size=(4, 3))
    out = tg.cosine_similarity(x, y, axis=2)
    assert out.shape == (2, 4)
    np.testing.assert_array_equal(out, tg.cosine_similarity(x, y, axis=-1))
    parallel = tg.cosine_similarity(x, -2 * x, axis=-1)
    np.testing.assert_allclose(parallel, -1, rtol=1e-15)


def test_refusals() -> None:
    x = np.ones((2, 3))
    with pytest.raises(tg.ShapeError, match=r"cdist: expected x .* \(2, 3\) and \(3,\)"):
        tg.cdist(x, x[0])
    with pytest.raises(tg.ShapeError, match=r"cdist: .*\(2, 3\) and \(3, 2\)"):
        tg.cdist(x, x.T)
    with pytest.raises(ValueError, match="cdist: expected p >= 0, got -1"):
        tg.cdist(x, x, p=-1)
    with pytest.raises(tg.ShapeError, match=r"pairwise_distance: .*broadcast.*\(2, 3\) and \(2,\)"):
        tg.pairwise_distance(x, np.ones(2))
    with pytest.raises(tg.ShapeError, match=r"pairwise_distance: expected vectors"):
        tg.pairwise_distance(np.array(1.0), np.array(2.0))
    with pytest.raises(tg.ShapeError, match=r"cosine_similarity: expected axis in -2 .. 1"):
        tg.cosine_similarity(x, x, axis=2)
    with pytest.raises(tg.ShapeError, match=r"normalize: expected axis in -1 .. 0"):
        tg.normalize(np.ones(3))
    for f in (tg.cdist, tg.pairwise_distance, tg.cosine_similarity):
        with pytest.raises(tg.DTypeError, match=rf"{f.__name__}: .*float32"):
            f(x, x.astype(np.float32))
        with pytest.raises(tg.DTypeError, match=rf"{f.__name__}: .*int64"):
            f(x.astype(int), x.astype(int))
