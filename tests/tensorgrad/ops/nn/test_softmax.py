"""softmax, log_softmax: large logits, and what sums to one."""

from __future__ import annotations

import math

import numpy as np

import tensorgrad as tg


def test_large_logits_do_not_overflow() -> None:
    x = tg.tensor(np.array([[1e4, 1e4 - 1.0, -1e4], [-1e30, 0.0, 1e30]]), requires_grad=True)
    p = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(tg.softmax(x).numpy(), [[p, 1 - p, 0], [0, 0, 1]], rtol=1e-12)
    np.testing.assert_allclose(
        tg.log_softmax(x).numpy()[0], [math.log(p), math.log(1 - p), -2e4 + math.log(p)], rtol=1e-12
    )


def test_masked_logits_have_probability_and_gradient_zero() -> None:
    x = tg.tensor(np.array([[0.5, -math.inf, 1.5]]), requires_grad=True)
    (dx,) = tg.grad(tg.softmax(x)[:, :1].sum(), x)
    assert np.isfinite(dx.numpy()).all()
    assert dx.numpy()[0, 1] == 0
    np.testing.assert_allclose(dx.numpy().sum(), 0, atol=1e-15)


def test_each_row_sums_to_one_and_its_gradient_to_zero() -> None:
    x = tg.tensor(np.random.default_rng(0).normal(size=(5, 7), scale=5), requires_grad=True)
    np.testing.assert_allclose(tg.softmax(x).numpy().sum(axis=1), 1, rtol=1e-14)
    (dx,) = tg.grad(tg.softmax(x), x, np.random.default_rng(1).normal(size=(5, 7)))
    np.testing.assert_allclose(dx.numpy().sum(axis=1), 0, atol=1e-14)
