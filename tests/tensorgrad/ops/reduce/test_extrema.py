"""Which element gets the gradient at a tie, nan, and dtypes other than floats."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

TIED = np.array([[3.0, 1.0, 3.0], [0.0, 3.0, 2.0]])


@pytest.mark.parametrize(
    ("op", "axis", "expected"),
    [
        ("max", None, [[1 / 3, 0, 1 / 3], [0, 1 / 3, 0]]),
        ("max", (0, 1), [[1 / 3, 0, 1 / 3], [0, 1 / 3, 0]]),
        ("max", 1, [[1, 0, 0], [0, 1, 0]]),
        ("max", (1,), [[0.5, 0, 0.5], [0, 1, 0]]),
        ("max", (), [[1, 1, 1], [1, 1, 1]]),
        ("min", None, [[0, 0, 0], [1, 0, 0]]),
        ("min", 0, [[0, 1, 0], [1, 0, 1]]),
        ("min", np.int64(0), [[0, 1, 0], [1, 0, 1]]),
    ],
)
def test_who_gets_the_gradient_of_a_tie(op: str, axis: Any, expected: Any) -> None:
    for create_graph in (False, True):
        x = tg.tensor(TIED, requires_grad=True)
        out = getattr(tg, op)(x, axis=axis)
        np.testing.assert_allclose(tg.grad(out.sum(), x, create_graph=create_graph)[0].numpy(), expected)


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize(
    ("axis", "expected"), [(None, [0, 0.5, 0, 0.5]), (0, [0, 1, 0, 0]), ((0,), [0, 0.5, 0, 0.5]), (-1, [0, 1, 0, 0])]
)
def test_nan_is_the_extremum(op: str, axis: Any, expected: list[float]) -> None:
    for create_graph in (False, True):
        x = tg.tensor([1.0, math.nan, 2.0, math.nan], requires_grad=True)
        out = getattr(tg, op)(x, axis=axis)
        assert math.isnan(out.item())
        np.testing.assert_array_equal(tg.grad(out, x, create_graph=create_graph)[0].numpy(), expected)


def test_a_nan_in_one_row_leaves_the_others_alone() -> None:
    x = tg.tensor([[1.0, math.nan], [5.0, 2.0]], requires_grad=True)
    (dx,) = tg.grad(tg.max(x, axis=(1,)).sum(), x)
    np.testing.assert_array_equal(dx.numpy(), [[0, 1], [1, 0]])


def test_signed_zeros_tie() -> None:
    x = tg.tensor([-0.0, 0.0], requires_grad=True)
    np.testing.assert_array_equal(tg.grad(tg.max(x), x)[0].numpy(), [0.5, 0.5])
    assert tg.argmax(x).item() == 0


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.data())
def test_argmax_and_argmin_are_numpy_s(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    a = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(-2, 2)))  # with ties
    for keepdims in (False, True):
        for op, expected in (("argmax", np.argmax), ("argmin", np.argmin)):
            out = getattr(tg, op)(tg.tensor(a), axis=axis, keepdims=keepdims)
            np.testing.assert_array_equal(out.numpy(), expected(a, axis=axis, keepdims=keepdims))
            assert out.dtype == np.int64


def test_extrema_of_integers_and_bools() -> None:
    x = tg.tensor([[3, 1], [2, 5]])
    assert tg.max(x).item() == 5
    np.testing.assert_array_equal(tg.min(x, axis=0).numpy(), [2, 1])
    assert tg.max(tg.tensor([False, True])).item() is True
    assert tg.max(tg.tensor([1, 2], dtype="uint8")).dtype == tg.uint8


def test_the_gradient_along_an_axis_writes_one_element_a_row() -> None:
    """Backward sums over no positions: only look-ups that repeat need that."""
    x = tg.tensor(TIED, requires_grad=True)
    found: list[Any] = []
    y = tg.record(x.data, (x, lambda g: found.append(g) or g))
    tg.grad(tg.max(y, axis=1).sum(), x)
    assert found[0].shape == TIED.shape
    assert tg.max(y, axis=1, keepdims=True).node.vjps[0](np.ones((2, 1))).repeats is False
