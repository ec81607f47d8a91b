"""softmax, log_softmax, cross_entropy: large logits, ignored targets, and the mean over none."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tensorgrad as tg


def test_large_logits_do_not_overflow() -> None:
    x = tg.tensor(np.array([[1e4, 1e4 - 1.0, -1e4], [-1e30, 0.0, 1e30]]), requires_grad=True)
    p = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(tg.softmax(x).numpy(), [[p, 1 - p, 0], [0, 0, 1]], rtol=1e-12)
    np.testing.assert_allclose(
        tg.log_softmax(x).numpy()[0], [math.log(p), math.log(1 - p), -2e4 + math.log(p)], rtol=1e-12
    )
    loss = tg.cross_entropy(x, np.array([2, 2]), reduction="none")
    np.testing.assert_allclose(loss.numpy(), [2e4 - math.log(p), 0], rtol=1e-12)
    np.testing.assert_allclose(tg.grad(loss, x, np.ones(2))[0].numpy(), [[p, 1 - p, -1], [0, 0, 0]], rtol=1e-12)


def test_masked_logits_have_probability_and_gradient_zero() -> None:
    x = tg.tensor(np.array([[0.5, -math.inf, 1.5]]), requires_grad=True)
    for f in (lambda x: tg.softmax(x)[:, :1], lambda x: tg.cross_entropy(x, np.array([0]))):
        (dx,) = tg.grad(f(x).sum(), x)
        assert np.isfinite(dx.numpy()).all()
        assert dx.numpy()[0, 1] == 0
        np.testing.assert_allclose(dx.numpy().sum(), 0, atol=1e-15)


def test_each_row_sums_to_one_and_its_gradient_to_zero() -> None:
    x = tg.tensor(np.random.default_rng(0).normal(size=(5, 7), scale=5), requires_grad=True)
    np.testing.assert_allclose(tg.softmax(x).numpy().sum(axis=1), 1, rtol=1e-14)
    (dx,) = tg.grad(tg.softmax(x), x, np.random.default_rng(1).normal(size=(5, 7)))
    np.testing.assert_allclose(dx.numpy().sum(axis=1), 0, atol=1e-14)


def test_the_mean_is_over_the_targets_that_count() -> None:
    logits = np.random.default_rng(2).normal(size=(4, 3))
    targets = np.array([0, 9, 2, 9])
    x = tg.tensor(logits, requires_grad=True)
    loss = tg.cross_entropy(x, targets, ignore_index=9)
    expected = tg.cross_entropy(tg.tensor(logits[[0, 2]]), targets[[0, 2]])
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-14)
    (dx,) = tg.grad(loss, x)
    np.testing.assert_array_equal(dx.numpy()[[1, 3]], 0)
    assert (dx.numpy()[[0, 2]] != 0).all()


def test_ignored_rows_may_hold_anything() -> None:
    x = tg.tensor(np.array([[1.0, 2.0], [math.nan, math.inf]]), requires_grad=True)
    with np.errstate(invalid="ignore"):
        loss = tg.cross_entropy(x, np.array([0, -100]))
        (dx,) = tg.grad(loss, x)
    assert math.isfinite(loss.item())
    assert np.isfinite(dx.numpy()).all()


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("targets", [np.full(2, -100), np.zeros(0, int)])
def test_the_mean_over_no_target_is_nan_without_a_gradient(targets: np.ndarray, create_graph: bool) -> None:
    x = tg.tensor(np.ones((len(targets), 3)), requires_grad=True)
    loss = tg.cross_entropy(x, targets)
    assert math.isnan(loss.item())
    np.testing.assert_array_equal(tg.grad(loss, x, create_graph=create_graph)[0].numpy(), 0)
    assert tg.cross_entropy(x, targets, reduction="sum").item() == 0


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64])
def test_targets_in_any_integer_dtype(kind: type) -> None:
    logits = np.random.default_rng(3).normal(size=(2, 300))
    targets = np.array([255 if kind is np.uint8 else 299, 1])
    got = tg.cross_entropy(tg.tensor(logits), targets.astype(kind))
    np.testing.assert_allclose(got.item(), tg.cross_entropy(tg.tensor(logits), targets).item(), rtol=1e-15)
