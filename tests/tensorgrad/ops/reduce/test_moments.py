"""Mean, variance and standard deviation at their limits: few elements, none, all equal, far from zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


def value_and_slope(f: Any, values: list[float]) -> tuple[float, list[float]]:
    x = tg.tensor(np.array(values), requires_grad=True)
    out = f(x)
    with np.errstate(all="ignore"):
        first = tg.grad(out, x, keep_graph=True)[0].numpy().tolist()
        second = tg.grad(out, x, create_graph=True)[0].numpy().tolist()
    np.testing.assert_array_equal(first, second)
    return out.item(), first


def test_variance_of_far_from_zero_values_does_not_cancel() -> None:
    x = tg.tensor(1e8 + np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(tg.var(x).item(), 2 / 3, rtol=1e-12)
    np.testing.assert_allclose(tg.std(x, correction=1).item(), 1.0, rtol=1e-12)
    narrow = tg.tensor(np.float32(1e6) + np.arange(1000, dtype=np.float32))
    np.testing.assert_allclose(tg.var(narrow).item(), (1000**2 - 1) / 12, rtol=1e-7)


def test_equal_elements_have_exactly_no_variance() -> None:
    for dtype in ("float32", "float64"):
        x = tg.full((3, 7), 0.1, dtype=dtype, requires_grad=True)
        for op in (tg.var, tg.std):
            out = op(x, axis=1)
            assert out.numpy().tolist() == [0, 0, 0]
            assert np.abs(tg.grad(out.sum(), x)[0].numpy()).max() < 1e-7


def test_what_rounding_leaves_of_the_mean_does_not_count() -> None:
    """Between 2 ** 53 and 2 ** 54 only even integers are float64; the mean of these numbers is not."""
    a = 2.0**53 + np.array([0.0, 2.0, 4.0, 4.0])
    np.testing.assert_allclose(tg.var(tg.tensor(a)).item(), 2.75, rtol=1e-15)


@pytest.mark.parametrize("axis", [None, 0, (0,)])
def test_no_degrees_of_freedom(axis: Any) -> None:
    """A sum of squares divided by 0 or less: inf, and nan where the sum is 0."""
    for correction in (3, 4, 5.5):
        out, slope = value_and_slope(lambda x, c=correction: tg.var(x, axis=axis, correction=c), [1.0, 2.0, 4.0])
        assert out == math.inf
        assert slope == [-math.inf, -math.inf, math.inf]
        assert value_and_slope(lambda x, c=correction: tg.std(x, axis=axis, correction=c), [1.0, 2.0, 4.0])[0] == out
    for op in (tg.var, tg.std):
        for values in ([2.0], [1.0, 1.0]):
            out, slope = value_and_slope(lambda x, op=op: op(x, axis=axis, correction=2), values)
            assert math.isnan(out)
            assert all(map(math.isnan, slope))


def test_no_warning_of_a_variance_without_freedom() -> None:
    assert tg.var(tg.tensor([1.0, 2.0]), correction=2).item() == math.inf
    assert math.isnan(tg.std(tg.tensor([1.0]), correction=1).item())
    assert math.isnan(tg.mean(tg.zeros((0,))).item())
    for op in (tg.var, tg.std):
        x = tg.tensor([2.0], requires_grad=True)
        assert math.isnan(tg.grad(op(x, correction=1), x)[0].numpy()[0])


def test_equal_elements() -> None:
    assert value_and_slope(tg.var, [3.0, 3.0]) == (0, [0, 0])
    assert value_and_slope(tg.std, [3.0, 3.0]) == (0, [0, 0])
    assert value_and_slope(tg.std, [0.3]) == (0, [0])


def test_std_does_not_overflow_where_its_square_would() -> None:
    x = tg.tensor([1e30, -1e30], dtype="float32")
    np.testing.assert_allclose(tg.std(x).item(), 1e30, rtol=1e-7)


def test_a_correction_may_be_any_number() -> None:
    a = np.array([1.0, 2.0, 4.0])
    for correction in (-2, 0.5, 2.75):
        expected = np.sum((a - a.mean()) ** 2) / (3 - correction)
        np.testing.assert_allclose(tg.var(tg.tensor(a), correction=correction).item(), expected, rtol=1e-14)
        tg.check_grads(lambda x, c=correction: tg.std(x, correction=c), a, order=3)
        tg.check_grads(lambda x, c=correction: tg.var(x, correction=c), a, order=3)


def test_integers_are_refused() -> None:
    for op in (tg.mean, tg.var, tg.std):
        with pytest.raises(tg.DTypeError, match="expected a float dtype, got int64"):
            op(tg.tensor([1, 2]))


@pytest.mark.parametrize("op", [tg.var, tg.std])
def test_gradients_far_from_zero_are_right_in_float32(op: Any) -> None:
    """x - mean(x) of numbers near 1e6 that are 1 apart, where a float32 mean would be off by 0.03."""
    a = np.float32(1e6) + np.random.default_rng(0).integers(0, 9, 300).astype(np.float32)
    narrow, wide = tg.tensor(a, requires_grad=True), tg.tensor(a.astype(np.float64), requires_grad=True)
    for create_graph in (False, True):
        (got,), (expected,) = (tg.grad(op(x), x, create_graph=create_graph) for x in (narrow, wide))
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-6, atol=1e-9)


def test_infinite_elements() -> None:
    for values, expected in (
        ([1.0, math.inf, 1.0], [-math.inf, math.nan, -math.inf]),
        ([math.inf, 1.0, 1.0], [math.nan, -math.inf, -math.inf]),
    ):
        x = tg.tensor(values, requires_grad=True)
        with np.errstate(invalid="ignore"):
            out = tg.var(x)
            (dx,) = tg.grad(out, x)
        assert math.isnan(out.item())
        np.testing.assert_array_equal(dx.numpy(), expected)
