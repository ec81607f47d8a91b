"""one_hot: dtypes, how many classes, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg


@pytest.mark.parametrize("kind", ["int64", "uint8", "int16"])
def test_ids_of_any_integer_dtype(kind: str) -> None:
    out = tg.one_hot(np.array([[2, 0], [1, 1]], kind), 3)
    assert out.dtype == np.int64
    np.testing.assert_array_equal(out, np.eye(3)[[[2, 0], [1, 1]]])
    assert type(tg.one_hot(tg.tensor(np.array(1)), 2)) is tg.Tensor
    np.testing.assert_array_equal(tg.one_hot(np.array(1)), [0, 1])


def test_nothing_has_no_largest_id() -> None:
    assert tg.one_hot(np.zeros((2, 0), int), 3).shape == (2, 0, 3)
    assert tg.one_hot(np.zeros(0, int), 0).shape == (0, 0)
    with pytest.raises(tg.ShapeError, match=r"one_hot: .*at least one id, got -1 and \(0,\)"):
        tg.one_hot(np.zeros(0, int))


def test_refusals() -> None:
    with pytest.raises(tg.ShapeError, match=r"one_hot: expected ids in 0 .. 1, got 0 .. 2"):
        tg.one_hot(np.array([0, 2]), 2)
    with pytest.raises(tg.ShapeError, match=r"one_hot: expected ids in 0 .. 0, got -1 .. 0"):
        tg.one_hot(np.array([0, -1]))
    with pytest.raises(tg.ShapeError, match=r"one_hot: expected num_classes >= 0.* got -2"):
        tg.one_hot(np.array([0]), -2)
    with pytest.raises(tg.DTypeError, match=r"one_hot: expected integer ids, got float64"):
        tg.one_hot(np.ones(2))
