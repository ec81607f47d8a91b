"""Dropout: the rate, the expectation, and the mask as a function of the key alone."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.random import RowKeys


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_and_expectation(rate: float) -> None:
    y = tg.dropout(np.ones((100_000,), np.float32), tg.Key(1), rate=rate)
    assert y.dtype == np.float32
    assert abs((y == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / y.size)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)


def test_the_mask_is_a_function_of_the_key_alone() -> None:
    x = tg.tensor(np.ones((50, 40)), requires_grad=True)
    first, second = (tg.dropout(x, tg.Key(3), rate=0.5) for _ in range(2))
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    np.testing.assert_array_equal(
        tg.dropout(x.numpy()[::1].astype("float32"), tg.Key(3), rate=0.5) > 0, first.numpy() > 0
    )
    assert (tg.dropout(x, tg.Key(4), rate=0.5).numpy() != first.numpy()).any()
    (dx,) = tg.grad(first, x, np.ones((50, 40)))
    np.testing.assert_array_equal(dx.numpy(), first.numpy())


def test_rate_zero_changes_nothing() -> None:
    a = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_array_equal(tg.dropout(a, tg.Key(0), rate=0.0), a)


def test_a_key_per_row_drops_each_row_by_its_own_key() -> None:
    keys = tuple(tg.Key(7).fold_in(i) for i in range(4))
    x = np.ones((4, 30))
    whole = tg.dropout(x, RowKeys(keys), rate=0.4)
    halves = np.concatenate(
        [tg.dropout(x[:2], RowKeys(keys[:2]), rate=0.4), tg.dropout(x[2:], RowKeys(keys[2:]), rate=0.4)]
    )
    np.testing.assert_array_equal(whole, halves)
    for row, key in zip(whole, keys, strict=True):
        np.testing.assert_array_equal(row, tg.dropout(x[0], key, rate=0.4))
    with pytest.raises(tg.ShapeError, match=r"dropout: .* 4 rows, one per key"):
        tg.dropout(x[:3], RowKeys(keys), rate=0.4)
    assert RowKeys(keys).fold_in(2).keys == tuple(key.fold_in(2) for key in keys)
