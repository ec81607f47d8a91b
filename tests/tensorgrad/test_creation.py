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
        ([np.float64(1.5), 2.0], "float64"),
        ([1, np.float64(2)], "float64"),
        ([np.ones(2), [1.0, 2.0]], "float64"),
        ([(1.0, 2.0), (1, np.float64(2))], "float64"),
        ([np.float32(1.5), 2.0], "float32"),
        ([np.ones(2, np.float32), np.ones(2, np.float32)], "float32"),
        ([np.float32(1.5), np.float64(2.5)], "float64"),
        ([tg.ones(()), tg.ones((), dtype="float64")], "float64"),
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


def test_asarray_copies_as_it_is_told() -> None:
    a = np.ones(3)
    assert not np.shares_memory(tg.asarray(a, copy=True).data, a)
    assert not np.shares_memory(tg.asarray(tg.asarray(a), copy=True).data, a)
    assert np.shares_memory(tg.asarray(a, copy=False).data, a)
    assert np.shares_memory(tg.asarray(a, copy=False, dtype="float64", device="cpu").data, a)
    assert tg.asarray([1.0], copy=True).dtype == tg.float32
    for program in (
        lambda: tg.asarray(a, copy=False, dtype="float32"),
        lambda: tg.asarray([1.0], copy=False),
        lambda: tg.asarray(2, copy=False),
    ):
        with pytest.raises(ValueError, match="asarray: expected data to share with copy=False"):
            program()


def test_numbers_that_a_dtype_cannot_hold_are_refused() -> None:
    assert tg.asarray(2**63, dtype="uint64").item() == 2**63
    assert tg.asarray([0, 2**64 - 1], dtype="uint64").data[1] == 2**64 - 1
    for program in (
        lambda: tg.asarray(2**64),
        lambda: tg.asarray(2**64, dtype="int64"),
        lambda: tg.full((2,), 300, dtype="int8"),
        lambda: tg.full((2,), 1.5, dtype="int8"),
        lambda: tg.full((2,), float("inf"), dtype="int8"),
        lambda: tg.full_like(tg.zeros((2,), dtype="bool"), 0.5),
        lambda: tg.full((2,), "1"),
        lambda: tg.asarray("text"),
    ):
        with pytest.raises(tg.DTypeError):
            program()


@pytest.mark.parametrize(
    ("value", "dtype"), [(True, "bool"), (3, "int64"), (2.5, "float32"), (np.float64(1), "float64")]
)
def test_full_takes_the_dtype_of_its_number(value: Any, dtype: str) -> None:
    x = tg.full((2, 1), value)
    assert (x.dtype, x.shape, x.data[1, 0]) == (np.dtype(dtype), (2, 1), value)
    assert tg.full((2,), value, dtype="float64").dtype == tg.float64


def test_likes_take_shape_dtype_and_device_unless_told() -> None:
    for x in (tg.ones((2, 0), dtype="int8"), np.ones((3,)), tg.ones((2,), requires_grad=True)):
        for make, value in ((tg.zeros_like, 0), (tg.ones_like, 1), (lambda *a, **k: tg.full_like(a[0], 7, **k), 7)):
            for dtype in (None, "float32", "uint8"):
                out = make(x, dtype=dtype, device="cpu")
                assert (out.shape, out.requires_grad) == (x.shape, False)
                assert out.dtype == (x.dtype if dtype is None else dtype)
                np.testing.assert_array_equal(out.numpy(), np.full(x.shape, value))
        out = tg.empty_like(x, dtype="int16")
        assert (out.shape, out.dtype) == (x.shape, np.int16)
        assert tg.empty_like(x).dtype == x.dtype
    with pytest.raises(tg.DTypeError, match="zeros_like: expected a Tensor or an array, got list"):
        tg.zeros_like([1.0])
    assert (tg.empty((2, 3)).shape, tg.empty(2, dtype="bool").dtype) == ((2, 3), np.bool_)


def test_a_shape_may_be_one_integer() -> None:
    assert [make(3).shape for make in (tg.zeros, tg.ones, tg.empty)] == [(3,)] * 3
    assert tg.full(np.int64(2), 1).shape == (2,)


@pytest.mark.parametrize(("start", "stop", "num"), [(0, 1, 5), (-2.5, 3.0, 7), (3, -3, 4), (1, 2, 1), (1, 2, 0)])
@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace(start: float, stop: float, num: int, endpoint: bool) -> None:
    steps = num - 1 if endpoint else num
    expected = [start + (stop - start) * i / max(steps, 1) for i in range(num)]
    x = tg.linspace(start, stop, num, endpoint=endpoint, dtype="float64")
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-15, atol=1e-15)
    assert tg.linspace(start, stop, num).dtype == tg.float32


def test_linspace_refuses() -> None:
    with pytest.raises(tg.ShapeError, match="linspace: expected sizes >= 0"):
        tg.linspace(0, 1, -1)
    with pytest.raises(tg.DTypeError, match="linspace: expected start to be a Python number"):
        tg.linspace("0", 1, 3)


@pytest.mark.parametrize("k", [-3, -1, 0, 2, 5])
def test_eye_has_its_ones_on_diagonal_k(k: int) -> None:
    np.testing.assert_array_equal(tg.eye(3, 4, k=k).numpy(), [[float(j - i == k) for j in range(4)] for i in range(3)])


def test_from_dlpack_copies_as_it_is_told() -> None:
    a = np.arange(3.0)
    assert not np.shares_memory(tg.from_dlpack(a, copy=True).data, a)
    assert np.shares_memory(tg.from_dlpack(a, copy=False, device="cpu").data, a)
