"""Running sums, products and differences: zeros, dtypes, initial values, accuracy."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5), st.data())
def test_they_are_numpy_s(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    a = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(-2, 2)))  # with zeros
    g = np.random.default_rng(0).normal(size=shape)
    x = tg.tensor(a, requires_grad=True)
    out = tg.cumulative_sum(x, axis=axis)
    np.testing.assert_array_equal(out.numpy(), np.cumsum(a, axis=axis))
    expected = np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)
    np.testing.assert_allclose(tg.grad(out, x, g)[0].numpy(), expected, rtol=1e-12, atol=1e-14)
    out = tg.cumulative_prod(x, axis=axis)
    np.testing.assert_array_equal(out.numpy(), np.cumprod(a, axis=axis))
    for create_graph in (False, True):
        (dx,) = tg.grad(out, x, g, create_graph=create_graph, keep_graph=True)
        np.testing.assert_allclose(dx.numpy(), slope_of_products(a, g, axis), rtol=1e-12, atol=1e-12)


def slope_of_products(a: np.ndarray, g: np.ndarray, axis: int) -> np.ndarray:
    """By the definition: sum over j of g_j times the product of x_0 .. x_j without x_i."""
    a, g = np.moveaxis(a, axis, -1), np.moveaxis(g, axis, -1)
    out = np.zeros(a.shape)
    for i in range(a.shape[-1]):
        others = a.copy()
        others[..., i] = 1
        out[..., i] = (g[..., i:] * np.cumprod(others, axis=-1)[..., i:]).sum(axis=-1)
    return np.moveaxis(out, -1, axis)


@pytest.mark.parametrize("zeros", [(), (0,), (2,), (5,), (0, 1), (1, 4), (0, 3, 5), (0, 1, 2, 3, 4, 5)])
def test_products_with_zeros_are_exact_at_every_order(zeros: tuple[int, ...]) -> None:
    a = np.array([2.0, -3.0, 5.0, 0.5, 7.0, -1.0])
    a[list(zeros)] = 0
    tg.check_grads(tg.cumulative_prod, a, order=3)
    x = tg.tensor(a, requires_grad=True)
    (dx,) = tg.grad(tg.cumulative_prod(x).sum(), x)
    np.testing.assert_array_equal(dx.numpy(), slope_of_products(a, np.ones(6), 0))


def test_an_infinite_element_is_no_zero() -> None:
    x = tg.tensor([1.0, 2.0, math.inf, 3.0], requires_grad=True)
    (dx,) = tg.grad(tg.cumulative_prod(x).sum(), x)
    np.testing.assert_array_equal(dx.numpy(), [math.inf, math.inf, 8.0, math.inf])


@pytest.mark.parametrize("op", ["cumulative_sum", "cumulative_prod"])
def test_float32_is_accumulated_in_float64(op: str) -> None:
    a = np.random.default_rng(0).uniform(0.9995, 1.0005, (3, 20_000)).astype(np.float32)
    f = getattr(tg, op)
    expected = (np.cumsum if op == "cumulative_sum" else np.cumprod)(a.astype(np.float64), axis=1)
    np.testing.assert_allclose(f(tg.tensor(a), axis=1).numpy(), expected, rtol=6e-8)


def test_the_gradient_of_float32_products_is_accumulated_in_float64() -> None:
    a = np.random.default_rng(0).uniform(0.99, 1.01, 5000).astype(np.float32)
    narrow, wide = tg.tensor(a, requires_grad=True), tg.tensor(a.astype(np.float64), requires_grad=True)
    (got,), (expected,) = (tg.grad(tg.cumulative_prod(x).sum(), x) for x in (narrow, wide))
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=3e-7)


@pytest.mark.parametrize("op", ["cumulative_sum", "cumulative_prod"])
@pytest.mark.parametrize(
    ("source", "dtype", "expected"),
    [
        ("int8", None, "int64"),
        ("uint8", None, "uint64"),
        ("bool", None, "int64"),
        ("float32", None, "float32"),
        ("float16", None, "float16"),
        ("int8", "int8", "int8"),
        ("int8", "float64", "float64"),
        ("float64", "int16", "int16"),
    ],
)
def test_dtypes(op: str, source: str, dtype: str | None, expected: str) -> None:
    f: Any = getattr(tg, op)
    x = tg.tensor([1, 1, 0, 1], dtype=source)
    for initial in (False, True):
        out = f(x, dtype=dtype, include_initial=initial)
        assert out.dtype == expected
        values = [1, 2, 2, 3] if op == "cumulative_sum" else [1, 1, 0, 0]
        start = [0] if op == "cumulative_sum" else [1]
        np.testing.assert_array_equal(out.numpy(), (start if initial else []) + values)


def test_only_one_axis_goes_without_saying() -> None:
    for op in (tg.cumulative_sum, tg.cumulative_prod):
        with pytest.raises(tg.ShapeError, match=r"cumulative_.*: expected axis for 2 axes, got None"):
            op(tg.ones((2, 2)))
        with pytest.raises(tg.ShapeError, match=r"cumulative_.*: expected axis for 0 axes"):
            op(tg.ones(()))


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4), st.data())
def test_diff_is_numpy_s(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    n = data.draw(st.integers(0, 5))
    a = np.random.default_rng(0).normal(size=shape)
    x = tg.tensor(a, requires_grad=True)
    out = tg.diff(x, axis=axis, n=n)
    np.testing.assert_array_equal(out.numpy(), np.diff(a, axis=axis, n=n))
    assert tg.grad(out, x, np.ones(out.shape))[0].shape == shape
    more = tg.diff(x, axis=axis, n=n, prepend=x, append=a)
    np.testing.assert_array_equal(more.numpy(), np.diff(a, axis=axis, n=n, prepend=a, append=a))


def test_diff_of_integers_and_what_it_refuses() -> None:
    assert tg.diff(tg.tensor([1, 4, 2])).numpy().tolist() == [3, -2]
    assert tg.diff(tg.tensor([1, 4], dtype="uint8"), n=0).dtype == tg.uint8
    with pytest.raises(tg.ShapeError, match="diff: expected n >= 0, got -1"):
        tg.diff(tg.ones((3,)), n=-1)
    with pytest.raises(tg.DTypeError, match="one dtype"):
        tg.diff(tg.ones((3,)), prepend=tg.ones((1,), dtype="float64"))
