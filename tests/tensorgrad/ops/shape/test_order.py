"""Elements reversed, rolled, and those of triangles."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tests.tensorgrad.ops.shape.moves import SHAPES, assert_moves_like, numbered


@given(SHAPES, st.data())
def test_flip_and_roll(shape: tuple[int, ...], data: st.DataObject) -> None:
    n = len(shape)
    axis = st.integers(-n, n - 1)
    several = st.lists(axis, unique_by=lambda a: a % n, min_size=1, max_size=n).map(tuple)
    shift = st.integers(-9, 9)
    flipped = data.draw(st.none() | axis | several)
    assert_moves_like(lambda x: tg.flip(x, axis=flipped), lambda a: np.flip(a, flipped), shape)
    rolled = data.draw(st.none() | axis | several)
    count = len(rolled) if isinstance(rolled, tuple) else 1
    shifts = data.draw(st.tuples(*[shift] * count) if isinstance(rolled, tuple) and data.draw(st.booleans()) else shift)
    assert_moves_like(lambda x: tg.roll(x, shifts, axis=rolled), lambda a: np.roll(a, shifts, rolled), shape)


def test_of_a_scalar() -> None:
    x = tg.tensor(2.0)
    assert tg.roll(x, 3).item() == tg.flip(x).item() == 2


@given(hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4), st.integers(-5, 5))
def test_triangles(shape: tuple[int, ...], k: int) -> None:
    x = tg.tensor(numbered(shape), requires_grad=True)
    np.testing.assert_array_equal(tg.tril(x, k=k).numpy(), np.tril(x.numpy(), k))
    np.testing.assert_array_equal((tg.tril(x, k=k) + tg.triu(x, k=k + 1)).numpy(), x.numpy())
    (dx,) = tg.grad(tg.triu(x, k=k), x, np.ones(shape))
    np.testing.assert_array_equal(dx.numpy(), np.triu(np.ones(shape), k))


def test_zeros_where_infinities_were() -> None:
    x = tg.tensor(np.full((2, 2), np.inf), requires_grad=True)
    out = tg.tril(x)
    assert out.numpy()[0, 1] == 0
    np.testing.assert_array_equal(tg.grad(out, x, np.full((2, 2), np.inf))[0].numpy(), [[np.inf, 0], [np.inf, np.inf]])


def test_what_they_refuse() -> None:
    x = tg.ones((2, 3))
    for program, message in (
        (lambda: tg.roll(x, (1, 2), axis=0), "roll: expected one shift per axis"),
        (lambda: tg.roll(x, 1.5, axis=0), "roll: expected shift to be an integer"),
        (lambda: tg.tril(x[0]), "tril: expected at least two axes"),
        (lambda: tg.triu(x, k=0.5), "triu: expected k to be an integer"),
        (lambda: tg.flip(x, axis=2), "flip: expected axis in -2 .. 1"),
    ):
        with pytest.raises(tg.ShapeError, match=message):
            program()
