"""cross_entropy, nll_loss: large logits, ignored targets, weights, probabilities, and the mean over nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tensorgrad as tg


def test_large_logits_do_not_overflow() -> None:
    x = tg.tensor(np.array([[1e4, 1e4 - 1.0, -1e4], [-1e30, 0.0, 1e30]]), requires_grad=True)
    p = 1 / (1 + math.exp(-1))
    loss = tg.cross_entropy(x, np.array([2, 2]), reduction="none")
    np.testing.assert_allclose(loss.numpy(), [2e4 - math.log(p), 0], rtol=1e-12)
    np.testing.assert_allclose(tg.grad(loss, x, np.ones(2))[0].numpy(), [[p, 1 - p, -1], [0, 0, 0]], rtol=1e-12)


def test_logits_of_one_large_size_lose_no_digits() -> None:
    small = np.random.default_rng(0).integers(-8, 8, (5, 7)).astype(np.float32)
    ids = np.arange(5)
    results = []
    for shift in (0, 1e4, -1e4):
        x = tg.tensor(small + np.float32(shift), requires_grad=True)
        loss = tg.cross_entropy(x, ids, reduction="none")
        results.append((loss.numpy(), tg.grad(loss, x, np.ones(5, np.float32))[0].numpy()))
    for got in results[1:]:
        for a, b in zip(got, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_masked_logits_have_probability_and_gradient_zero() -> None:
    x = tg.tensor(np.array([[0.5, -math.inf, 1.5]]), requires_grad=True)
    for targets in (np.array([0]), np.array([[1.0, 0.0, 0.0]])):
        loss = tg.cross_entropy(x, targets)
        (dx,) = tg.grad(loss, x)
        assert loss.item() == pytest.approx(math.log(1 + math.e))
        assert dx.numpy()[0, 1] == 0
        np.testing.assert_allclose(dx.numpy().sum(), 0, atol=1e-15)
    assert tg.cross_entropy(x, np.array([1])).item() == math.inf
    assert tg.cross_entropy(x, np.array([0]), label_smoothing=0.1).item() == math.inf


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


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_targets_in_any_integer_dtype(kind: type) -> None:
    logits = np.random.default_rng(3).normal(size=(2, 300))
    targets = np.array([255 if kind is np.uint8 else 299, 1])
    got = tg.cross_entropy(tg.tensor(logits), targets.astype(kind))
    np.testing.assert_allclose(got.item(), tg.cross_entropy(tg.tensor(logits), targets).item(), rtol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_of_16_bit_floats_sums_are_float32(smoothing: float) -> None:
    rng = np.random.default_rng(8)
    logits, ids = rng.normal(size=(2000, 3)).astype(np.float16), rng.integers(0, 3, 2000)
    weight = np.array([0.1, 0.7, 0.3], np.float16)
    got, expected = (
        tg.cross_entropy(logits.astype(dtype), ids, weight=weight.astype(dtype), label_smoothing=smoothing)
        for dtype in (np.float16, np.float64)
    )
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_classes_along_any_axis() -> None:
    logits = np.random.default_rng(4).normal(size=(2, 5, 3))
    ids = np.array([[1, 0, 4], [2, -100, 3]])
    expected = tg.cross_entropy(tg.tensor(np.moveaxis(logits, 1, -1)), ids).item()
    assert tg.cross_entropy(tg.tensor(logits), ids, axis=1).item() == expected
    assert tg.cross_entropy(tg.tensor(logits), ids, axis=-2).item() == expected
    log_p = tg.log_softmax(tg.tensor(logits), axis=1)
    assert tg.nll_loss(log_p, ids, axis=1).item() == pytest.approx(expected, rel=1e-14)


def test_one_hot_probabilities_are_classes() -> None:
    logits, ids = np.random.default_rng(5).normal(size=(6, 4)), np.array([0, 3, 2, 2, 1, 0])
    options = {"label_smoothing": 0.1, "z_loss": 0.01}
    by_class = tg.cross_entropy(tg.tensor(logits), ids, **options)  # type: ignore[arg-type]
    by_probability = tg.cross_entropy(tg.tensor(logits), np.eye(4)[ids], **options)  # type: ignore[arg-type]
    np.testing.assert_allclose(by_class.item(), by_probability.item(), rtol=1e-14)


def test_probabilities_get_their_gradient() -> None:
    x = tg.tensor(np.random.default_rng(6).normal(size=(2, 3)))
    q = tg.tensor(np.array([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]]), requires_grad=True)
    (dq,) = tg.grad(tg.cross_entropy(x, q, reduction="sum"), q)
    np.testing.assert_allclose(dq.numpy(), -tg.log_softmax(x).numpy(), rtol=1e-14)


@pytest.mark.parametrize("weight", [None, np.array([0.0, 1.0, 2.0])])
def test_nll_loss_of_no_target_is_nan_without_a_gradient(weight: np.ndarray | None) -> None:
    x = tg.tensor(np.zeros((2, 3)), requires_grad=True)
    loss = tg.nll_loss(x, np.full(2, -100), weight=weight)
    assert math.isnan(loss.item())
    np.testing.assert_array_equal(tg.grad(loss, x)[0].numpy(), 0)


def test_refusals() -> None:
    x, ids = tg.tensor(np.zeros((2, 3))), np.zeros(2, int)
    with pytest.raises(tg.ShapeError, match=r"cross_entropy: .*3 classes, got shape"):
        tg.cross_entropy(x, ids, weight=np.ones(2))
    with pytest.raises(tg.DTypeError, match=r"cross_entropy: .*float32"):
        tg.cross_entropy(x, ids, weight=np.ones(3, np.float32))
    with pytest.raises(tg.GraphError, match=r"nll_loss: .*no gradient"):
        tg.nll_loss(x, ids, weight=tg.tensor(np.ones(3), requires_grad=True))
    with pytest.raises(ValueError, match=r"label_smoothing in 0 .. 1, got 1.5"):
        tg.cross_entropy(x, ids, label_smoothing=1.5)
    with pytest.raises(tg.ShapeError, match=r"probabilities of the logits' shape"):
        tg.cross_entropy(x, np.zeros((2, 2)))
    with pytest.raises(tg.DTypeError, match=r"cross_entropy: .*float32"):
        tg.cross_entropy(x, np.zeros((2, 3), np.float32))
    with pytest.raises(tg.ShapeError, match=r"nll_loss: expected targets in 0 .. 2, or -100 to ignore, got 3"):
        tg.nll_loss(x, np.array([0, 3]))
    with pytest.raises(ValueError, match=r'nll_loss: .*"mean", "sum", "none", got \'avg\''):
        tg.nll_loss(x, ids, reduction="avg")


def test_targets_without_data_have_a_shape_all_the_same() -> None:
    with tg.abstract():
        logits, targets = tg.zeros((2, 3), requires_grad=True), tg.zeros((2,), dtype="int64")
        assert tg.cross_entropy(logits, targets, reduction="none").shape == (2,)
        assert tg.nll_loss(logits, targets).shape == ()
        with pytest.raises(tg.ShapeError, match="cross_entropy"):
            tg.cross_entropy(logits, tg.zeros((3,), dtype="int64"))
