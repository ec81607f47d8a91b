"""Making Tensors: default dtypes, copies and shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.0, 2.0], "float32"),
        ([1, 2.5], "float32"),
        ([1, 2], "int64"),
        (True, "bool"),
        ([], "float32"),
        (np.float64(1.5), "float64"),
        (np.ones(2), "float64"),
        (np.ones(2, np.int8), "int8"),
        (np.ones(2, np.float32), "float32"),
    ],
)
def test_default_dtypes(data: Any, dtype: str) -> None:
    assert tg.tensor(data).dtype == dtype
    assert tg.asarray(data).dtype == dtype


def test_tensor_copies_and_asarray_shares() -> None:
    a = np.ones(3)
    copied, shared = tg.tensor(a), tg.asarray(a)
    a[0] = 5
    assert copied.data[0] == 1
    assert shared.data[0] == 5
    assert not np.shares_memory(tg.asarray(a, dtype="float32").data, a)
    assert np.shares_memory(tg.asarray(shared).data, a)
    assert not np.shares_memory(tg.tensor(shared).data, a)


def test_requires_grad_makes_a_leaf() -> None:
    x = tg.tensor([1, 2], dtype="float64", requires_grad=True)
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])
    for make in (tg.zeros, tg.ones):
        assert make((2,), requires_grad=True).requires_grad
        assert not make((2,)).requires_grad


def test_filled() -> None:
    np.testing.assert_array_equal(tg.full((2, 1), 2.5).numpy(), [[2.5], [2.5]])
    np.testing.assert_array_equal(tg.zeros(()).numpy(), 0.0)
    np.testing.assert_array_equal(tg.ones([2], dtype="int8").numpy(), np.ones(2, np.int8))
    np.testing.assert_array_equal(tg.eye(2, 3).numpy(), [[1, 0, 0], [0, 1, 0]])
    assert tg.eye(2).shape == (2, 2)
    assert {make((2,)).dtype for make in (tg.zeros, tg.ones)} == {np.dtype("float32")}
    x = tg.ones((2, 0), dtype="float64", requires_grad=True)
    for like in (tg.zeros_like(x), tg.ones_like(x)):
        assert (like.shape, like.dtype, like.requires_grad) == ((2, 0), np.float64, False)


def test_arange() -> None:
    np.testing.assert_array_equal(tg.arange(3).numpy(), [0, 1, 2])
    np.testing.assert_array_equal(tg.arange(1, 4).numpy(), [1, 2, 3])
    np.testing.assert_array_equal(tg.arange(3, 0, -1).numpy(), [3, 2, 1])
    np.testing.assert_allclose(tg.arange(0.0, 1.0, 0.25).numpy(), [0, 0.25, 0.5, 0.75])
    assert (tg.arange(3).dtype, tg.arange(3.0).dtype, tg.arange(3, dtype="int8").dtype) == ("int64", "float32", "int8")


def test_from_dlpack_shares_memory() -> None:
    a = np.arange(3.0)
    x = tg.from_dlpack(a)
    a[0] = 7
    assert x.data[0] == 7
