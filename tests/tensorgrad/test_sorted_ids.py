"""Ids sorted ahead of time: the same values and, bit for bit, the same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import reference
from tensorgrad.sorted_ids import SortedIds


@pytest.mark.parametrize("high", [7, 1 << 16, 1 << 20])
@pytest.mark.parametrize("shape", [(0,), (1,), (4, 9)])
def test_the_order_is_the_stable_argsort(high: int, shape: tuple[int, ...]) -> None:
    ids = np.random.default_rng(0).integers(0, high, shape)
    found = SortedIds.of(ids)
    assert found.ids is ids
    np.testing.assert_array_equal(found.order_N, np.argsort(ids.ravel(), kind="stable"))
    assert found.to("cpu") is found


@pytest.mark.parametrize("padding_idx", [None, 3])
def test_the_gradient_is_the_same_bit_for_bit(padding_idx: int | None) -> None:
    rng = np.random.default_rng(1)
    ids, g = rng.integers(0, 11, (5, 8)), rng.normal(size=(5, 8, 3)).astype(np.float32)
    table = rng.normal(size=(11, 3)).astype(np.float32)
    gradients = []
    for given in (ids, SortedIds.of(ids)):
        weight = tg.tensor(table, requires_grad=True)
        out = tg.embedding(weight, given, padding_idx=padding_idx)
        np.testing.assert_array_equal(out.numpy(), table[ids])
        out.backward(g)
        gradients.append(weight.grad.numpy())
    assert gradients[0].tobytes() == gradients[1].tobytes()


def test_the_order_given_is_the_one_that_is_used() -> None:
    """Rows that are added in another order round differently: the given order decides."""
    index, values = np.zeros(3, int), np.array([[1e8], [1.0], [-1e8]], np.float32)
    sums = []
    for order in ([0, 1, 2], [1, 0, 2]):
        buffer = np.zeros((1, 1), np.float32)
        reference.scatter_add(buffer, index, values, np.array(order))
        sums.append(float(buffer[0, 0]))
    assert sums == [0.0, 1.0]


def test_ids_out_of_range_are_refused_all_the_same() -> None:
    with pytest.raises(tg.ShapeError, match=r"ids in 0 \.\. 2, got 3"):
        tg.embedding(tg.zeros((3, 2)), SortedIds.of(np.array([0, 3])))


def test_on_a_device(cupy: Any) -> None:
    ids = SortedIds.of(np.array([[3, 1], [0, 1]]))
    assert ids.shape == (2, 2)
    assert ids.to("cpu") is ids
    moved = ids.to("cuda:0")
    np.testing.assert_array_equal(moved.ids.get(), ids.ids)
    np.testing.assert_array_equal(moved.order_N.get(), ids.order_N)
