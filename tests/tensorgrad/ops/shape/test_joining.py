"""Joining and cutting at any axis of any shape undo each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tests.tensorgrad.ops.shape.moves import SHAPES, assert_moves_like, numbered


@given(SHAPES, st.data())
def test_cutting_and_joining(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    length = shape[axis]
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=3)))
    sizes = np.diff([0, *cuts, length]).tolist()
    parts = tg.split(tg.tensor(numbered(shape)), sizes, axis=axis)
    for got, expected in zip(parts, np.split(numbered(shape), cuts, axis=axis), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)
    assert_moves_like(lambda x: tg.concat(tg.split(x, sizes, axis=axis), axis=axis), lambda a: a, shape)
    if length:
        assert_moves_like(lambda x: tg.stack(tg.unstack(x, axis=axis), axis=axis), lambda a: a, shape)
        assert len(tg.split(tg.tensor(numbered(shape)), length, axis=axis)) == length


@given(SHAPES, st.data())
def test_stacking(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    assert_moves_like(lambda x: tg.stack([x, x, x], axis=axis), lambda a: np.stack([a] * 3, axis=axis), shape)


def test_concat_of_one_and_of_arrays() -> None:
    a = numbered((2, 2))
    np.testing.assert_array_equal(tg.concat([tg.tensor(a)]).numpy(), a)
    assert type(tg.concat([a, a])) is np.ndarray
    assert type(tg.concat([a, tg.tensor(a)])) is tg.Tensor
    assert type(tg.stack([a, a])) is np.ndarray


def test_concat_sends_gradients_only_where_they_are_needed() -> None:
    x = tg.tensor(numbered((2, 2)), requires_grad=True)
    out = tg.concat([numbered((1, 2)), x, tg.tensor(numbered((1, 2))), x])
    g = numbered((6, 2))
    np.testing.assert_array_equal(tg.grad(out, x, g)[0].numpy(), g[1:3] + g[4:6])


def test_concat_flattens_without_an_axis() -> None:
    parts = [tg.tensor(numbered((2, 2))), tg.tensor(5.0, dtype="float64"), tg.zeros((0, 3), dtype="float64")]
    assert tg.concat(parts, axis=None).numpy().tolist() == [1, 2, 3, 4, 5]


def test_integers_and_bools_are_joined() -> None:
    for dtype in ("bool", "uint8", "int64"):
        out = tg.concat([tg.zeros((1,), dtype=dtype), tg.ones((2,), dtype=dtype)])
        assert (out.dtype, out.numpy().tolist()) == (np.dtype(dtype), [0, 1, 1])


def test_parts_share_memory() -> None:
    x = tg.tensor(numbered((3, 4)))
    for part in (tg.split(x, 2, axis=1)[1], tg.unstack(x)[0]):
        assert np.shares_memory(part.data, x.data)


def test_what_they_refuse() -> None:
    x, y = tg.ones((2, 2)), tg.ones((2, 3))
    for program, message in (
        (lambda: tg.concat([x, y]), r"concat: expected shapes that agree but in axis 0, got \(2, 2\), \(2, 3\)"),
        (lambda: tg.concat([tg.ones(())]), "concat: expected axis"),
        (lambda: tg.concat([]), "concat: expected a list or tuple of at least one tensor"),
        (lambda: tg.stack([x, y]), r"stack: expected tensors of one shape, got \(2, 2\), \(2, 3\)"),
        (lambda: tg.split(y, 2, axis=1), "split: expected a number of parts that divides 3, got 2"),
        (lambda: tg.unstack(tg.ones(())), "unstack: expected axis"),
    ):
        with pytest.raises(tg.ShapeError, match=message):
            program()
    with pytest.raises(tg.DTypeError, match="stack: expected tensors of one dtype, got float32, int64"):
        tg.stack([x, tg.ones((2, 2), dtype="int64")])
