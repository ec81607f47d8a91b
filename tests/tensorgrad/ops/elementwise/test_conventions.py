"""Elementwise ops where they are not smooth, at infinities, and over hypothesis' floats and strides."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

FLOATS = st.floats(-30, 30, allow_nan=False)


def slope(f: Any, *xs: float, create_graph: bool = False) -> list[float]:
    leaves = [tg.tensor(np.float64(x), requires_grad=True) for x in xs]
    with np.errstate(all="ignore"):
        return [g.item() for g in tg.grad(f(*leaves), leaves, create_graph=create_graph)]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (tg.abs, (0.0,), [0.0]),
        (tg.relu, (0.0,), [0.0]),
        (tg.sqrt, (0.0,), [math.inf]),
        (tg.maximum, (1.5, 1.5), [0.5, 0.5]),
        (tg.minimum, (1.5, 1.5), [0.5, 0.5]),
        (lambda x: tg.maximum(x, 0), (0.0,), [0.5]),
        (lambda x: tg.clip(x, -1.0, 1.0), (1.0,), [1.0]),
        (lambda x: tg.clip(x, -1.0, 1.0), (-1.0,), [1.0]),
        (lambda x: tg.clip(x, -1.0, 1.0), (1.0000001,), [0.0]),
        (lambda x: x**2, (0.0,), [0.0]),
        (lambda x: x**1, (0.0,), [1.0]),
        (lambda x: x**0, (0.0,), [0.0]),
        (lambda x: x**0.5, (0.0,), [math.inf]),
        (lambda x: x**3, (-2.0,), [12.0]),
        (tg.pow, (0.0, 2.0), [0.0, 0.0]),
        (tg.pow, (0.0, 1.0), [1.0, 0.0]),
        (tg.pow, (0.0, 0.0), [0.0, 0.0]),
        (lambda y: 0**y, (2.0,), [0.0]),
        (lambda y: (-2.0) ** y, (2.0,), [math.nan]),
        (lambda x: tg.where(x > 0, tg.sqrt(x), 0.0), (4.0,), [0.25]),
        (tg.logaddexp, (800.0, 800.0), [0.5, 0.5]),
        (tg.logaddexp, (0.0, 1000.0), [0.0, 1.0]),
        (tg.sigmoid, (-800.0,), [0.0]),
        (tg.sigmoid, (800.0,), [0.0]),
        (tg.tanh, (500.0,), [0.0]),
        (lambda x: x / x, (3.0,), [0.0]),
        (tg.sign, (2.0,), None),
    ],
)
def test_conventions_where_ops_are_not_smooth(f: Any, at: tuple[float, ...], expected: Any, create_graph: bool) -> None:
    if expected is None:
        assert not f(tg.tensor(at, requires_grad=True)).requires_grad
        return
    np.testing.assert_allclose(slope(f, *at, create_graph=create_graph), expected, rtol=1e-12, atol=1e-15)


def test_pow_has_second_derivatives_at_zero() -> None:
    x = tg.tensor(np.float64(0.0), requires_grad=True)
    for exponent, expected in ((2, 2.0), (3, 0.0), (1, 0.0), (tg.tensor(np.float64(2.0)), 2.0)):
        (first,) = tg.grad(x**exponent, x, create_graph=True)
        if expected or first.requires_grad:
            assert tg.grad(first, x)[0].item() == expected


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=FLOATS))
def test_smooth_functions_are_numpy_s_on_any_floats(a: np.ndarray) -> None:
    for f, expected in (
        (tg.exp, np.exp),
        (tg.sin, np.sin),
        (tg.tanh, np.tanh),
        (tg.expm1, np.expm1),
        (tg.square, np.square),
    ):
        np.testing.assert_allclose(f(tg.tensor(a)).numpy(), expected(a), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(tg.sigmoid(tg.tensor(a)).numpy(), 1 / (1 + np.exp(-a)), rtol=1e-14)
    erf = np.array([math.erf(v) for v in a.ravel()]).reshape(a.shape)
    np.testing.assert_allclose(tg.erf(tg.tensor(a)).numpy(), erf, rtol=4e-16, atol=0)


@given(
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5).flatmap(
        lambda shape: st.tuples(
            st.just(shape),
            st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(-3, 3).filter(bool)) for n in shape)),
            st.permutations(range(len(shape))),
        )
    )
)
def test_any_strides_give_the_result_of_a_contiguous_copy(layout: Any) -> None:
    shape, starts_and_steps, order = layout
    base = np.random.default_rng(0).uniform(0.5, 2.0, shape)
    view = base[tuple(slice(start, None, step) for start, step in starts_and_steps)].transpose(order)
    copy = view.copy()
    for f in (
        tg.log,
        tg.gelu,
        tg.silu,
        tg.erf,
        tg.softmax,
        lambda x: tg.layer_norm(x, tg.ones(x.shape[-1:], dtype="float64")),
    ):
        x, y = tg.asarray(view, requires_grad=True), tg.tensor(copy, requires_grad=True)
        np.testing.assert_allclose(f(x).numpy(), f(y).numpy(), rtol=1e-14, atol=1e-15)
        g = np.random.default_rng(1).normal(size=view.shape)
        expected = tg.grad(f(y), y, np.asfortranarray(g))[0].numpy()
        np.testing.assert_allclose(tg.grad(f(x), x, g)[0].numpy(), expected, rtol=1e-12, atol=1e-13)


def test_infinities_and_nans_are_results_like_any_other() -> None:
    special = np.array([math.inf, -math.inf, math.nan, 0.0])
    x = tg.tensor(special)
    np.testing.assert_array_equal(tg.isfinite(x).numpy(), [False, False, False, True])
    np.testing.assert_array_equal(tg.sigmoid(x).numpy(), [1.0, 0.0, math.nan, 0.5])
    np.testing.assert_array_equal(tg.erf(x).numpy(), [1.0, -1.0, math.nan, 0.0])
    np.testing.assert_array_equal(tg.maximum(x, 0.0).numpy(), [math.inf, 0.0, math.nan, 0.0])
    np.testing.assert_array_equal(tg.relu(x).numpy(), [math.inf, 0.0, math.nan, 0.0])
    np.testing.assert_array_equal(tg.exp(x).numpy(), [math.inf, 0.0, math.nan, 1.0])
    np.testing.assert_array_equal(tg.abs(x).numpy(), np.abs(special))


def test_where_keeps_the_branch_not_taken_out_of_the_gradient() -> None:
    x = tg.tensor([0.0, 4.0], dtype="float64", requires_grad=True)
    safe = tg.where(x > 0, x, 1.0)
    (dx,) = tg.grad(tg.where(x > 0, tg.sqrt(safe), 0.0).sum(), x)
    np.testing.assert_array_equal(dx.numpy(), [0.0, 0.25])
    assert type(tg.where(tg.tensor([True]), np.ones(1), np.zeros(1))) is tg.Tensor


def test_operators_are_the_ops(normal: Any) -> None:
    a, b = np.abs(normal(2, 3)) + 0.5, normal(2, 3, seed=1)
    x, y = tg.tensor(a), tg.tensor(b)
    for got, expected in (
        (x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (x**y, a**b), (-x, -a), (abs(y), np.abs(b)),
        (x @ y.T, a @ b.T), (2 - x, 2 - a), (2 / x, 2 / a), (2**x, 2**a), (1.5 + x, a + 1.5), (3 * x, 3 * a),
        (x < y, a < b), (x <= y, a <= b), (x > y, a > b), (x >= y, a >= b), (x == y, a == b), (x != y, a != b),
        (x > 1, a > 1), (~(x < y), a >= b), ((x < y) & (x > 0), (a < b) & (a > 0)),
        ((x < y) | (x > 0), (a < b) | (a > 0)),
    ):  # fmt: skip
        assert type(got) is tg.Tensor
        np.testing.assert_array_equal(got.numpy(), expected)


def test_arrays_stay_arrays_and_tensors_make_tensors() -> None:
    a = np.ones(2)
    assert type(tg.add(a, 1.0)) is np.ndarray
    assert type(tg.exp(a)) is np.ndarray
    assert type(tg.add(a, tg.tensor(a))) is tg.Tensor
    assert not tg.add(a, tg.tensor(a)).requires_grad
    assert type(tg.sum(a)) is np.ndarray
    assert tg.sum(a).shape == ()


def test_astype_carries_the_gradient_back_in_the_source_s_dtype() -> None:
    x = tg.tensor([1.5, 2.5], requires_grad=True)
    y = x.astype("float64") * 2.0
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])
    assert not x.astype("int64").requires_grad
    np.testing.assert_array_equal(x.to("int64").numpy(), [1, 2])
