"""Rearrangements: any axes of any shape, inverses, and views that share memory."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1.0, 1.0 + np.prod(shape, dtype=int)).reshape(shape)


def assert_moves_like(f: Any, expected: Any, shape: tuple[int, ...]) -> None:
    """f only moves elements: forward as `expected` does, backward each cotangent to where its element came from."""
    a = numbered(shape)
    x = tg.tensor(a, requires_grad=True)
    out = f(x)
    want = expected(a)
    np.testing.assert_array_equal(out.numpy(), want)
    g = np.random.default_rng(0).normal(size=want.shape)
    total = np.zeros(a.size + 1)
    np.add.at(total, want.astype(int).ravel(), g.ravel())
    for create_graph in (False, True):
        (dx,) = tg.grad(f(x), x, g, create_graph=create_graph)
        np.testing.assert_allclose(dx.numpy(), total[1:].reshape(shape), rtol=1e-13, atol=1e-14)


@given(SHAPES, st.data())
def test_moving_axes(shape: tuple[int, ...], data: st.DataObject) -> None:
    n = len(shape)
    axis = st.integers(-n, n - 1)
    order = data.draw(st.permutations(range(n)))
    signed = [a - n if data.draw(st.booleans()) else a for a in order]
    assert_moves_like(lambda x: tg.permute_dims(x, signed), lambda a: np.transpose(a, order), shape)
    assert_moves_like(lambda x: x.permute_dims(*signed), lambda a: np.transpose(a, order), shape)
    source, destination = data.draw(axis), data.draw(axis)
    assert_moves_like(
        lambda x: tg.moveaxis(x, source, destination), lambda a: np.moveaxis(a, source, destination), shape
    )
    flipped = data.draw(st.none() | axis)
    assert_moves_like(lambda x: tg.flip(x, axis=flipped), lambda a: np.flip(a, flipped), shape)
    rolled, shift = data.draw(axis), data.draw(st.integers(-9, 9))
    assert_moves_like(lambda x: tg.roll(x, shift, axis=rolled), lambda a: np.roll(a, shift, rolled), shape)


@given(SHAPES, st.data())
def test_adding_and_removing_axes(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    assert_moves_like(lambda x: tg.expand_dims(x, axis=axis), lambda a: np.expand_dims(a, axis), shape)
    assert_moves_like(lambda x: tg.squeeze(tg.expand_dims(x, axis=axis), axis=axis), lambda a: a, shape)
    assert_moves_like(lambda x: tg.stack([x, x, x], axis=axis), lambda a: np.stack([a] * 3, axis=axis), shape)


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


@given(hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4), st.integers(-5, 5))
def test_triangles(shape: tuple[int, ...], k: int) -> None:
    x = tg.tensor(numbered(shape), requires_grad=True)
    np.testing.assert_array_equal(tg.tril(x, k=k).numpy(), np.tril(x.numpy(), k))
    np.testing.assert_array_equal((tg.tril(x, k=k) + tg.triu(x, k=k + 1)).numpy(), x.numpy())
    (dx,) = tg.grad(tg.triu(x, k=k), x, np.ones(shape))
    np.testing.assert_array_equal(dx.numpy(), np.triu(np.ones(shape), k))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: tg.permute_dims(x, (1, 0)),
        lambda x: x.T,
        lambda x: x.mT,
        lambda x: tg.reshape(x, (4, 3)),
        lambda x: tg.expand_dims(x, axis=0),
        lambda x: tg.flip(x),
        lambda x: tg.split(x, 2, axis=1)[1],
        lambda x: tg.unstack(x)[0],
        lambda x: x[::2],
    ],
)
def test_views_share_memory(f: Any) -> None:
    x = tg.tensor(numbered((3, 4)))
    assert np.shares_memory(f(x).data, x.data)


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
