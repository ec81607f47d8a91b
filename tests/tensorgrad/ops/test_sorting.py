"""Order: ties, nan, dtypes, and where the gradient of a moved element goes."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)
VALUES = st.sampled_from([-2.0, -0.0, 0.0, 1.0, math.inf, -math.inf, math.nan])


@given(SHAPES, st.booleans(), st.data())
def test_sort_and_argsort_keep_the_order_of_equals(
    shape: tuple[int, ...], descending: bool, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    a = data.draw(hnp.arrays(np.float64, shape, elements=VALUES))
    order = tg.argsort(tg.tensor(a), axis=axis, descending=descending)
    assert order.dtype == np.int64
    for where in np.ndindex(*np.delete(shape, axis)):
        row = np.moveaxis(a, axis, -1)[where].tolist()
        key = [math.inf if math.isnan(v) else v for v in row]
        sign = -1 if descending else 1
        # Ascending order puts nan after every number; equal elements keep their order.
        expected = sorted(range(len(row)), key=lambda i: (sign * math.isnan(row[i]), sign * key[i], i))
        assert np.moveaxis(order.numpy(), axis, -1)[where].tolist() == expected
    x = tg.tensor(a, requires_grad=True)
    out = tg.sort(x, axis=axis, descending=descending)
    np.testing.assert_array_equal(out.numpy(), np.take_along_axis(a, order.numpy(), axis=axis))
    g = np.random.default_rng(0).normal(size=shape)
    expected = np.zeros(shape)
    np.put_along_axis(expected, order.numpy(), g, axis=axis)
    for create_graph in (False, True):
        (dx,) = tg.grad(tg.sort(x, axis=axis, descending=descending), x, g, create_graph=create_graph)
        np.testing.assert_array_equal(dx.numpy(), expected)


@given(SHAPES, st.booleans(), st.data())
def test_topk_is_the_start_of_a_sort(shape: tuple[int, ...], largest: bool, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(0, shape[axis]))
    a = data.draw(hnp.arrays(np.float64, shape, elements=VALUES))
    values, indices = tg.topk(tg.tensor(a), k, axis=axis, largest=largest)
    first = range(k)
    order = tg.argsort(tg.tensor(a), axis=axis, descending=largest).numpy()
    np.testing.assert_array_equal(indices.numpy(), np.take(order, first, axis=axis))
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(a, indices.numpy(), axis=axis))
    assert indices.dtype == np.int64


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "uint64", "float16"])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_of_every_dtype(dtype: str, descending: bool) -> None:
    x = tg.tensor([1, 0, 1, 0], dtype=dtype)
    out = tg.sort(x, descending=descending)
    assert (out.dtype, out.numpy().tolist()) == (np.dtype(dtype), [1, 1, 0, 0] if descending else [0, 0, 1, 1])
    assert tg.argsort(x, descending=descending).numpy().tolist() == ([0, 2, 1, 3] if descending else [1, 3, 0, 2])
    assert tg.sort(x, descending=descending, stable=False).numpy().tolist() == out.numpy().tolist()


@given(hnp.arrays(np.int64, st.integers(0, 6), elements=st.integers(-3, 3)), st.sampled_from(["left", "right"]))
def test_searchsorted_is_numpy_s(a: np.ndarray, side: str) -> None:
    values = np.arange(-4, 5).reshape(3, 3)
    expected = np.searchsorted(np.sort(a), values, side)
    out = tg.searchsorted(tg.sort(tg.tensor(a)), tg.tensor(values), side=side)
    np.testing.assert_array_equal(out.numpy(), expected)
    assert out.dtype == np.int64
    order = tg.argsort(tg.tensor(a))
    np.testing.assert_array_equal(
        tg.searchsorted(tg.tensor(a), tg.tensor(values), side=side, sorter=order).numpy(), expected
    )


def test_searchsorted_of_a_number() -> None:
    out = tg.searchsorted(tg.tensor([0.1, 0.2, 0.3]), 0.2, side="right")
    assert (out.item(), out.shape) == (2, ())


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), elements=VALUES))
def test_unique(a: np.ndarray) -> None:
    x = tg.tensor(a)
    values, indices, inverse, counts = tg.unique_all(x)
    numbers = sorted({v + 0.0 for v in a.ravel().tolist() if not math.isnan(v)})
    expected = numbers + [math.nan] * int(np.isnan(a).sum())
    np.testing.assert_array_equal(values.numpy() + 0.0, expected)
    np.testing.assert_array_equal(values.numpy(), a.ravel()[indices.numpy()])
    np.testing.assert_array_equal(values.numpy()[inverse.numpy()], a)
    assert counts.numpy().tolist() == [int((inverse.numpy() == i).sum()) for i in range(len(expected))]
    assert all(index == np.flatnonzero(inverse.numpy() == i)[0] for i, index in enumerate(indices.numpy()))
    assert inverse.shape == a.shape
    np.testing.assert_array_equal(tg.unique_values(x).numpy(), values.numpy())
    for part, whole in zip(tg.unique_counts(x), (values, counts), strict=True):
        np.testing.assert_array_equal(part.numpy(), whole.numpy())
    for part, whole in zip(tg.unique_inverse(x), (values, inverse), strict=True):
        np.testing.assert_array_equal(part.numpy(), whole.numpy())
    assert tg.unique_inverse(x).inverse_indices.dtype == tg.unique_counts(x).counts.dtype == np.int64


def test_what_they_refuse() -> None:
    x = tg.ones((2, 3))
    for program, kind, message in (
        (lambda: tg.sort(tg.ones(())), tg.ShapeError, "sort: expected axis"),
        (lambda: tg.argsort(x, axis=2), tg.ShapeError, "argsort: expected axis"),
        (lambda: tg.topk(x, 4), tg.ShapeError, "topk: expected k in 0 .. 3"),
        (lambda: tg.topk(x, -1), tg.ShapeError, "topk: expected k in 0 .. 3"),
        (lambda: tg.topk(x, 1.0), tg.ShapeError, "topk: expected k to be an integer"),
        (lambda: tg.searchsorted(x, x), tg.ShapeError, "searchsorted: expected x1 to be a vector"),
        (lambda: tg.searchsorted(x[0], x, side="middle"), ValueError, "searchsorted: expected side"),
        (lambda: tg.searchsorted(x[0], x, sorter=tg.tensor([0])), tg.ShapeError, "searchsorted: expected sorter"),
        (lambda: tg.searchsorted(x[0], tg.tensor([1])), tg.DTypeError, "searchsorted: expected operands of one dtype"),
        (lambda: tg.searchsorted(1.0, x[0]), tg.DTypeError, "searchsorted: expected a Tensor"),
    ):
        with pytest.raises(kind, match=message):
            program()
