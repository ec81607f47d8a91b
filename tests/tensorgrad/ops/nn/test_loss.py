"""Losses where their formulas end: ties, zeros, certainties, large logits, nothing at all; and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

LOSSES = (
    *("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div"),
    *("binary_cross_entropy", "binary_cross_entropy_with_logits"),
)


def gradients(f: Any, *arrays: Any) -> list[np.ndarray]:
    xs = [tg.tensor(np.array(a, np.float64), requires_grad=True) for a in arrays]
    return [g.numpy() for g in tg.grad(f(*xs), xs, np.ones(xs[0].shape))]


@pytest.mark.parametrize("op", LOSSES)
def test_the_mean_over_nothing_is_nan_and_the_sum_is_zero(op: str) -> None:
    x = tg.tensor(np.zeros((0, 3)), requires_grad=True)
    loss = getattr(tg, op)(x, np.zeros((0, 3)))
    assert math.isnan(loss.item())
    assert tg.grad(loss, x)[0].shape == (0, 3)
    assert getattr(tg, op)(x, np.zeros((0, 3)), reduction="sum").item() == 0
    assert math.isnan(tg.kl_div(x, np.zeros((0, 3)), reduction="batchmean").item())


@pytest.mark.parametrize("op", LOSSES)
def test_wrong_operands_are_refused_by_name(op: str) -> None:
    f = getattr(tg, op)
    x = np.full((2, 3), 0.5)
    with pytest.raises(tg.ShapeError, match=rf"{op}: expected x and target of one shape, got \(2, 3\) and \(3,\)"):
        f(x, x[0])
    with pytest.raises(tg.ShapeError, match=rf"{op}: .*\(2, 3\) and \(\)"):
        f(x, 0.5)
    with pytest.raises(tg.DTypeError, match=f"{op}: .*float32"):
        f(x, x.astype(np.float32))
    with pytest.raises(tg.DTypeError, match=f"{op}: .*int64"):
        f(np.ones(3, int), np.ones(3, int))
    with pytest.raises(ValueError, match=rf'{op}: .*"none".*\'avg\''):
        f(x, x, reduction="avg")


def test_options_that_make_no_sense_are_refused() -> None:
    x = np.full((2, 3), 0.5)
    with pytest.raises(ValueError, match="huber_loss: expected delta > 0, got 0"):
        tg.huber_loss(x, x, delta=0)
    with pytest.raises(ValueError, match="smooth_l1_loss: expected beta >= 0, got -1"):
        tg.smooth_l1_loss(x, x, beta=-1)
    with pytest.raises(ValueError, match=r"binary_cross_entropy: expected x in 0 .. 1, got 0.5 .. 1.5: are they"):
        tg.binary_cross_entropy(np.array([0.5, 1.5]), np.ones(2))
    for options in ({"weight": np.ones(2)}, {"weight": np.ones((1, 2, 3))}):
        with pytest.raises(tg.ShapeError, match=r"binary_cross_entropy: expected weight to broadcast to .*\(2, 3\)"):
            tg.binary_cross_entropy(x, x, **options)  # type: ignore[arg-type]
    with pytest.raises(tg.ShapeError, match=r"with_logits: expected pos_weight to broadcast to .*\(2, 3\), got \(2,\)"):
        tg.binary_cross_entropy_with_logits(x, x, pos_weight=np.ones(2))
    with pytest.raises(ValueError, match=r"l1_loss: .*'batchmean'"):
        tg.l1_loss(x, x, reduction="batchmean")


def test_absolute_differences_have_gradient_zero_at_a_tie() -> None:
    for f in (tg.l1_loss, lambda x, y, reduction: tg.smooth_l1_loss(x, y, beta=0, reduction=reduction)):
        dx, dy = gradients(lambda x, y, f=f: f(x, y, reduction="none"), [1.0, 2.0], [1.0, 1.0])
        np.testing.assert_array_equal(dx, [0, 1])
        np.testing.assert_array_equal(dy, [0, -1])


def test_huber_and_smooth_l1_meet_at_their_threshold() -> None:
    x, zero = np.array([0.5, -0.5, 0.25, 1e300, -np.inf]), np.zeros(5)
    np.testing.assert_array_equal(
        tg.huber_loss(x, zero, delta=0.5, reduction="none"), [0.125, 0.125, 0.03125, 5e299, np.inf]
    )
    np.testing.assert_array_equal(
        tg.smooth_l1_loss(x, zero, beta=0.5, reduction="none"), [0.25, 0.25, 0.0625, 1e300, np.inf]
    )
    (dx, _) = gradients(lambda x, y: tg.huber_loss(x, y, delta=0.5, reduction="none"), x, zero)
    np.testing.assert_array_equal(dx, [0.5, -0.5, 0.25, 0.5, -0.5])
    (dx, _) = gradients(lambda x, y: tg.smooth_l1_loss(x, y, beta=0.5, reduction="none"), x, zero)
    np.testing.assert_array_equal(dx, [1, -1, 0.5, 1, -1])
    tiny = tg.smooth_l1_loss(np.array([1.0, 1e-310]), np.zeros(2), beta=1e-300, reduction="none")
    np.testing.assert_allclose(tiny, [1, 0], atol=1e-320)


def test_kl_div_of_a_target_without_mass() -> None:
    x, target = np.array([-1.0, -2.0]), np.array([0.0, 1.0])
    np.testing.assert_array_equal(tg.kl_div(x, target, reduction="none"), [0, 2])
    with np.errstate(divide="ignore"):
        dx, dtarget = gradients(lambda x, y: tg.kl_div(x, y, reduction="none"), x, target)
    np.testing.assert_array_equal(dx, [0, -1])
    np.testing.assert_array_equal(dtarget, [-np.inf, 3])


def test_certainties_cost_at_most_100() -> None:
    x, target = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(tg.binary_cross_entropy(x, target, reduction="none"), [0, 100, 100, 0])
    a = tg.tensor(x, requires_grad=True)
    (dx,) = tg.grad(tg.binary_cross_entropy(a, target, reduction="sum"), a)
    np.testing.assert_allclose(dx.numpy(), [0, -1e12, 1e12, 0], rtol=1e-8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_logits_cost_what_they_are(dtype: str) -> None:
    x = tg.tensor(np.array([1e4, -1e4, 1e4, -1e4, 0.0, -20.0, 20.0], dtype), requires_grad=True)
    target = np.array([0, 0, 1, 1, 0.25, 0, 1], dtype)
    loss = tg.binary_cross_entropy_with_logits(x, target, reduction="none")
    small = math.log1p(math.exp(-20))  # not lost beside 20
    np.testing.assert_allclose(loss.numpy(), [1e4, 0, 0, 1e4, math.log(2), small, small], rtol=1e-6)
    (dx,) = tg.grad(loss, x, np.ones(7, dtype))
    p = 1 / (1 + math.exp(20))
    np.testing.assert_allclose(dx.numpy(), [1, 0, 0, -1, 0.25, p, -p], rtol=1e-6)
