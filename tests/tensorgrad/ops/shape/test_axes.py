"""Any axes of any shape moved, added and removed; views share memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tests.tensorgrad.ops.shape.moves import SHAPES, assert_moves_like, numbered


@given(SHAPES, st.data())
def test_moving_axes(shape: tuple[int, ...], data: st.DataObject) -> None:
    n = len(shape)
    axis = st.integers(-n, n - 1)
    order = data.draw(st.permutations(range(n)))
    signed = [a - n if data.draw(st.booleans()) else a for a in order]
    assert_moves_like(lambda x: tg.permute_dims(x, signed), lambda a: np.transpose(a, order), shape)
    assert_moves_like(lambda x: x.permute_dims(*signed), lambda a: np.transpose(a, order), shape)
    several = st.lists(axis, unique_by=lambda a: a % n, min_size=1, max_size=n).map(tuple)
    source = data.draw(axis | several)
    destination = data.draw(axis if isinstance(source, int) else several.filter(lambda t: len(t) == len(source)))
    assert_moves_like(
        lambda x: tg.moveaxis(x, source, destination), lambda a: np.moveaxis(a, source, destination), shape
    )


@given(SHAPES, st.data())
def test_adding_and_removing_axes(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    assert_moves_like(lambda x: tg.expand_dims(x, axis=axis), lambda a: np.expand_dims(a, axis), shape)
    assert_moves_like(lambda x: tg.squeeze(tg.expand_dims(x, axis=axis), axis), lambda a: a, shape)


def test_what_moveaxis_and_squeeze_refuse() -> None:
    x = tg.ones((2, 1, 3))
    with pytest.raises(tg.ShapeError, match="moveaxis: expected as many sources as destinations"):
        tg.moveaxis(x, (0, 1), 2)
    with pytest.raises(tg.ShapeError, match="moveaxis: expected each axis once"):
        tg.moveaxis(x, (0, -3), (0, 1))
    with pytest.raises(tg.ShapeError, match="squeeze: expected axes of size 1"):
        tg.squeeze(x, (0, 1))


@pytest.mark.parametrize("axes", [(True, False), (1.0, 0), (0, -2), (1,), (2, 0), 1])
def test_an_order_is_refused_also_where_it_equals_a_known_one(axes: Any) -> None:
    x = tg.ones((2, 3))
    assert x.permute_dims(1, 0).shape == (3, 2)
    for _ in range(2):
        with pytest.raises(tg.ShapeError, match="permute_dims: expected"):
            tg.permute_dims(x, axes)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: tg.permute_dims(x, (1, 0)),
        lambda x: x.T,
        lambda x: x.mT,
        lambda x: tg.moveaxis(x, 0, 1),
        lambda x: tg.expand_dims(x, axis=0),
        lambda x: tg.squeeze(x[:1], 0),
    ],
)
def test_views_share_memory(f: Any) -> None:
    x = tg.tensor(numbered((3, 4)))
    assert np.shares_memory(f(x).data, x.data)
