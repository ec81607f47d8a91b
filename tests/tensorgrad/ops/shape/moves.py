"""How ops that only move elements are checked: every element, and every cotangent, by its number."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np

import tensorgrad as tg

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1.0, 1.0 + np.prod(shape, dtype=int)).reshape(shape)


def assert_moves_like(f: Any, expected: Any, shape: tuple[int, ...]) -> None:
    """f only moves elements: forward as `expected` does, backward each cotangent to where its element came from."""
    a = numbered(shape)
    x = tg.tensor(a, requires_grad=True)
    out = f(x)
    want = expected(a)
    np.testing.assert_array_equal(out.numpy(), want)
    g = np.random.default_rng(0).normal(size=want.shape)
    total = np.zeros(a.size + 1)
    np.add.at(total, want.astype(int).ravel(), g.ravel())
    for create_graph in (False, True):
        (dx,) = tg.grad(f(x), x, g, create_graph=create_graph)
        np.testing.assert_allclose(dx.numpy(), total[1:].reshape(shape), rtol=1e-13, atol=1e-14)
