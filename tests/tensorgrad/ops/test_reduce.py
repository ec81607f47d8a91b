"""Reductions over any axes of any shape; which elements get the gradient of a tie; extremes."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

AXIS_FREE = {
    "sum": np.sum,
    "mean": np.mean,
    "var": np.var,
    "std": np.std,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "any": np.any,
    "all": np.all,
    "logsumexp": lambda a, axis, keepdims: np.log(np.exp(a).sum(axis=axis, keepdims=keepdims)),
}
NEEDS_ELEMENTS = {"max", "min", "logsumexp"}


@st.composite
def shapes_with_axes(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    if not shape:
        return shape, draw(st.sampled_from([None, ()]))
    one = st.integers(-len(shape), len(shape) - 1)
    several = st.lists(one, max_size=len(shape), unique_by=lambda a: a % len(shape)).map(tuple)
    return shape, draw(st.none() | one | several)


@given(shapes_with_axes(), st.sampled_from(sorted(AXIS_FREE)), st.booleans())
def test_reductions_are_numpy_s(pair: tuple[tuple[int, ...], Any], op: str, keepdims: bool) -> None:
    shape, axis = pair
    a = np.random.default_rng(len(shape)).normal(size=shape)
    axes = tuple(range(len(shape))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    is_empty = any(shape[i] == 0 for i in axes)
    x = tg.tensor(a, requires_grad=True)
    if is_empty and op in NEEDS_ELEMENTS:
        with pytest.raises(tg.ShapeError, match=f"{op}: expected at least one element"):
            getattr(tg, op)(x, axis=axis, keepdims=keepdims)
        return
    out = getattr(tg, op)(x, axis=axis, keepdims=keepdims)
    if is_empty and op in ("mean", "var", "std"):
        assert np.isnan(out.numpy()).all()
        assert out.shape == np.sum(a, axis=axis, keepdims=keepdims).shape
        return
    expected = np.asarray(AXIS_FREE[op](a, axis=axis, keepdims=keepdims))
    assert out.shape == expected.shape
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12, atol=1e-13)
    if op not in ("any", "all", "std"):
        # Every element's weight along the reduced axes: the gradient of a sum of results.
        (dx,) = tg.grad(out, x, np.ones(out.shape))
        assert dx.shape == shape
        if op in ("max", "min", "logsumexp", "mean"):
            np.testing.assert_allclose(dx.numpy().sum(axis=axis), np.ones(np.sum(a, axis=axis).shape), rtol=1e-12)


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.data())
def test_argmax_and_cumulative_sum_are_numpy_s(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    a = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(-2, 2)))  # with ties
    for keepdims in (False, True):
        for op, expected in (("argmax", np.argmax), ("argmin", np.argmin)):
            out = getattr(tg, op)(tg.tensor(a), axis=axis, keepdims=keepdims)
            np.testing.assert_array_equal(out.numpy(), expected(a, axis=axis, keepdims=keepdims))
            assert out.dtype == np.int64
    x = tg.tensor(a, requires_grad=True)
    out = tg.cumulative_sum(x, axis=axis)
    np.testing.assert_array_equal(out.numpy(), np.cumsum(a, axis=axis))
    g = np.random.default_rng(0).normal(size=shape)
    expected = np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)
    np.testing.assert_allclose(tg.grad(out, x, g)[0].numpy(), expected, rtol=1e-12, atol=1e-14)


TIED = np.array([[3.0, 1.0, 3.0], [0.0, 3.0, 2.0]])


@pytest.mark.parametrize(
    ("op", "axis", "expected"),
    [
        ("max", None, [[1 / 3, 0, 1 / 3], [0, 1 / 3, 0]]),
        ("max", (0, 1), [[1 / 3, 0, 1 / 3], [0, 1 / 3, 0]]),
        ("max", 1, [[1, 0, 0], [0, 1, 0]]),
        ("max", (1,), [[0.5, 0, 0.5], [0, 1, 0]]),
        ("min", None, [[0, 0, 0], [1, 0, 0]]),
        ("min", 0, [[0, 1, 0], [1, 0, 1]]),
    ],
)
def test_who_gets_the_gradient_of_a_tie(op: str, axis: Any, expected: Any) -> None:
    for create_graph in (False, True):
        x = tg.tensor(TIED, requires_grad=True)
        out = getattr(tg, op)(x, axis=axis)
        np.testing.assert_allclose(tg.grad(out.sum(), x, create_graph=create_graph)[0].numpy(), expected)


def test_nan_is_the_extremum_and_gets_the_gradient() -> None:
    x = tg.tensor([1.0, math.nan, 2.0], requires_grad=True)
    for op in (tg.max, tg.min):
        out = op(x)
        assert math.isnan(out.item())
        np.testing.assert_array_equal(tg.grad(out, x)[0].numpy(), [0, 1, 0])


def test_extrema_of_integers_and_bools() -> None:
    x = tg.tensor([[3, 1], [2, 5]])
    assert tg.max(x).item() == 5
    np.testing.assert_array_equal(tg.min(x, axis=0).numpy(), [2, 1])
    assert tg.max(tg.tensor([False, True])).item() is True


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_is_exact_with_any_number_of_zeros(zeros: int) -> None:
    a = np.array([2.0, -3.0, 5.0, 0.5, 7.0])
    a[:zeros] = 0
    x = tg.tensor(a, requires_grad=True)
    expected = [math.prod(v for j, v in enumerate(a) if j != i) for i in range(5)]
    np.testing.assert_array_equal(tg.grad(tg.prod(x), x)[0].numpy(), expected)
    tg.check_grads(tg.prod, a, order=2)


def test_prod_of_integers_does_not_overflow_their_dtype() -> None:
    out = tg.prod(tg.tensor(np.full(4, 100, np.uint8)))
    assert (out.item(), out.dtype) == (100_000_000, np.int64)
    assert tg.prod(tg.tensor([True, True])).item() == 1


def test_logsumexp_does_not_overflow_and_takes_infinities() -> None:
    x = tg.tensor(np.array([[1000.0, 1001.0], [-1000.0, -math.inf], [-math.inf, -math.inf]]), requires_grad=True)
    out = tg.logsumexp(x, axis=1)
    expected = [1001 + math.log1p(math.exp(-1)), -1000.0, -math.inf]
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-15)
    for create_graph in (False, True):
        (dx,) = tg.grad(tg.logsumexp(x, axis=1), x, np.ones(3), create_graph=create_graph)
        low = 1 / (1 + math.e)
        np.testing.assert_allclose(dx.numpy(), [[low, 1 - low], [1, 0], [0, 0]], rtol=1e-12)


def test_variance_of_far_from_zero_values_does_not_cancel() -> None:
    x = tg.tensor(1e8 + np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(tg.var(x).item(), 2 / 3, rtol=1e-12)
    np.testing.assert_allclose(tg.std(x, correction=1).item(), 1.0, rtol=1e-12)
    assert math.isnan(tg.var(tg.tensor([1.0]), correction=1).item())
