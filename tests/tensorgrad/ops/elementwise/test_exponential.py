"""Powers of zero and below, roots and logarithms at zero, infinities."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tests.tensorgrad.ops.slopes import slopes

inf, nan = math.inf, math.nan


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (tg.sqrt, [0.0], [inf]),
        (tg.sqrt, [-0.0], [-inf]),
        (tg.rsqrt, [0.0], [-inf]),
        (tg.log, [0.0], [inf]),
        (tg.log2, [0.0], [inf]),
        (tg.log10, [0.0], [inf]),
        (tg.log1p, [-1.0], [inf]),
        (tg.exp2, [0.0], [math.log(2)]),
        (tg.expm1, [-50.0], [math.exp(-50)]),
        (lambda x: x**2, [0.0], [0.0]),
        (lambda x: x**1, [0.0], [1.0]),
        (lambda x: x**0, [0.0], [0.0]),
        (lambda x: x**0, [nan], [0.0]),
        (lambda x: x**0.5, [0.0], [inf]),
        (lambda x: x**-1, [0.0], [-inf]),
        (lambda x: x**3, [-2.0], [12.0]),
        (tg.pow, [0.0, 2.0], [0.0, 0.0]),
        (tg.pow, [0.0, 1.0], [1.0, 0.0]),
        (tg.pow, [0.0, 0.0], [0.0, 0.0]),
        (tg.pow, [0.0, -1.0], [-inf, -inf]),
        (tg.pow, [0.0, inf], [nan, 0.0]),
        (tg.pow, [2.0, 0.0], [0.0, math.log(2)]),
        (tg.pow, [-2.0, 2.0], [-4.0, nan]),
        (tg.pow, [inf, -1.0], [0.0, nan]),
        (lambda y: 0**y, [2.0], [0.0]),
        (lambda y: 0**y, [0.0], [0.0]),
        (lambda y: 0**y, [-1.0], [-inf]),
        (lambda y: (-2.0) ** y, [2.0], [nan]),
        (lambda y: 1**y, [5.0], [0.0]),
        (tg.logaddexp, [800.0, 800.0], [0.5, 0.5]),
        (tg.logaddexp, [0.0, 1000.0], [0.0, 1.0]),
        (tg.logaddexp, [0.0, -inf], [1.0, 0.0]),
        (tg.logaddexp, [-inf, -inf], [nan, nan]),
        (tg.sigmoid, [-800.0], [0.0]),
        (tg.sigmoid, [800.0], [0.0]),
        (tg.sigmoid, [50.0], [math.exp(-50)]),
        (tg.sigmoid, [-700.0], [math.exp(-700)]),
    ],
)
def test_conventions(f: Any, at: list[float], expected: Any, create_graph: bool) -> None:
    np.testing.assert_allclose(slopes(f, *at, create_graph=create_graph), expected, rtol=1e-13, atol=0)


def test_pow_has_second_derivatives_at_zero() -> None:
    x = tg.tensor(np.float64(0.0), requires_grad=True)
    for exponent, expected in ((2, 2.0), (3, 0.0), (1, 0.0), (tg.tensor(np.float64(2.0)), 2.0)):
        (first,) = tg.grad(x**exponent, x, create_graph=True)
        if expected or first.requires_grad:
            assert tg.grad(first, x)[0].item() == expected


def test_integer_powers() -> None:
    x = tg.tensor([-2, 3], dtype="int32")
    np.testing.assert_array_equal((x**2).numpy(), [4, 9])
    assert (x**2).dtype == np.int32
    with pytest.raises(tg.DTypeError, match="pow"):
        x**-1
    with pytest.raises(tg.DTypeError, match=r"pow: .*float|pow: expected an integer"):
        x**0.5


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=st.floats(-30, 30)))
def test_smooth_functions_are_numpy_s_on_any_floats(a: np.ndarray) -> None:
    for f, expected in (
        (tg.exp, np.exp),
        (tg.exp2, np.exp2),
        (tg.sin, np.sin),
        (tg.tanh, np.tanh),
        (tg.asinh, np.arcsinh),
        (tg.expm1, np.expm1),
        (tg.square, np.square),
    ):
        np.testing.assert_allclose(f(tg.tensor(a)).numpy(), expected(a), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(tg.sigmoid(tg.tensor(a)).numpy(), 1 / (1 + np.exp(-a)), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinities_and_nans_are_results_like_any_other(dtype: str) -> None:
    x = tg.tensor([inf, -inf, nan, 0.0], dtype=dtype)
    for f, expected in (
        (tg.sigmoid, [1, 0, nan, 0.5]),
        (tg.exp, [inf, 0, nan, 1]),
        (tg.exp2, [inf, 0, nan, 1]),
        (tg.expm1, [inf, -1, nan, 0]),
        (lambda t: tg.maximum(t, 0.0), [inf, 0, nan, 0]),
        (tg.abs, [inf, inf, nan, 0]),
    ):
        np.testing.assert_allclose(f(x).numpy(), np.array(expected, dtype), rtol=1e-7)
    x = tg.tensor([inf, -inf, 1000.0, 0.0], dtype=dtype)
    np.testing.assert_allclose(tg.logaddexp(x, 0).numpy(), np.array([inf, 0, 1000, math.log(2)], dtype), rtol=1e-7)


def test_floats_only() -> None:
    x = tg.tensor([1, 2])
    for f in (tg.exp, tg.exp2, tg.log, tg.log2, tg.log10, tg.sqrt, tg.sigmoid, tg.sin, tg.acosh, tg.erfc, tg.signbit):
        with pytest.raises(tg.DTypeError, match="expected a float dtype, got int64"):
            f(x)
    for f in (tg.logaddexp, tg.atan2, tg.hypot, tg.copysign, tg.nextafter):
        with pytest.raises(tg.DTypeError, match="expected a float dtype, got int64"):
            f(x, x)
        with pytest.raises(tg.DTypeError, match="expected a float dtype, got int64"):
            f(2, x)
