"""Infinities and no elements."""

from __future__ import annotations

import math

import numpy as np

import tensorgrad as tg


def test_logsumexp_does_not_overflow_and_takes_infinities() -> None:
    x = tg.tensor(np.array([[1000.0, 1001.0], [-1000.0, -math.inf], [-math.inf, -math.inf]]), requires_grad=True)
    out = tg.logsumexp(x, axis=1)
    expected = [1001 + math.log1p(math.exp(-1)), -1000.0, -math.inf]
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-15)
    for create_graph in (False, True):
        (dx,) = tg.grad(tg.logsumexp(x, axis=1), x, np.ones(3), create_graph=create_graph)
        low = 1 / (1 + math.e)
        np.testing.assert_allclose(dx.numpy(), [[low, 1 - low], [1, 0], [0, 0]], rtol=1e-12)


def test_inf_and_nan_are_what_they_are() -> None:
    assert tg.logsumexp(tg.tensor([1.0, math.inf])).item() == math.inf
    assert math.isnan(tg.logsumexp(tg.tensor([1.0, math.nan])).item())


def test_of_no_elements() -> None:
    x = tg.zeros((2, 0), requires_grad=True)
    out = tg.logsumexp(x, axis=1, keepdims=True)
    np.testing.assert_array_equal(out.numpy(), [[-math.inf], [-math.inf]])
    assert out.dtype == tg.float32
    assert tg.grad(out, x, np.ones((2, 1), np.float32))[0].shape == (2, 0)
