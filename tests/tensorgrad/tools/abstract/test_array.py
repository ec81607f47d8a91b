"""An array without values has the shape, dtype, strides and life of NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tensorgrad.array import device_of, is_any, is_array, is_concrete, module_of, to_device
from tensorgrad.tools.abstract.array import AbstractArray
from tensorgrad.tools.abstract.functions import functions
from tests.tensorgrad.each import each


def pair(a: np.ndarray) -> tuple[np.ndarray, AbstractArray]:
    """The array, and one without values in the same place of a buffer of its own."""
    base = a if a.base is None else a.base
    owner = AbstractArray(base.shape, base.dtype)
    if a is base:
        return a, owner
    return a, AbstractArray(a.shape, a.dtype, a.strides, owner)


def assert_alike(real: Any, found: Any) -> None:
    real = np.asarray(real)
    assert type(found) is AbstractArray
    assert (found.shape, found.dtype) == (real.shape, real.dtype)
    # What an axis of one element, or an array of none, is said to step over means nothing.
    steps = zip(real.strides, found.strides, real.shape, strict=True)
    assert not real.size or all(a == b for a, b, n in steps if n != 1)
    assert (found.ndim, found.size, found.nbytes, found.itemsize) == (real.ndim, real.size, real.nbytes, real.itemsize)


ARRAYS = {
    "rows": np.zeros((4, 6, 2)),
    "transposed": np.zeros((4, 6, 2)).transpose(2, 0, 1),
    "strided": np.zeros((4, 6, 2))[::2, 1::2],
    "reversed": np.zeros((4, 6, 2))[::-1],
    "broadcast": np.broadcast_to(np.zeros((6, 1), np.float32), (4, 6, 2)),
    "one": np.zeros((1, 6, 1)).transpose(2, 1, 0),
    "empty": np.zeros((4, 0, 2)).transpose(2, 0, 1),
    "vector": np.zeros(12, np.int64),
    "scalar": np.zeros((), bool),
}
VIEWS = {
    "flat": lambda a: a.reshape(-1),
    "split": lambda a: a.reshape(2, a.size // 2) if a.size % 2 == 0 else a.reshape(1, -1),
    "T": lambda a: a.T,
    "transpose": lambda a: a.transpose(),
    "swapaxes": lambda a: a.swapaxes(0, -1) if a.ndim else a.reshape(()),
    "squeeze": lambda a: a.squeeze(),
    "slice": lambda a: a[..., 1:] if a.ndim else a[...],
    "new axis": lambda a: a[None, ..., None],
    "first": lambda a: a[0] if a.ndim > 1 else a[...],
    "back": lambda a: a[::-1] if a.ndim else a[...],
    "none": lambda a: a[()] if a.ndim else a[...],
    "copy": lambda a: a.copy(),
    "astype": lambda a: a.astype(np.float32),
    "same": lambda a: a.astype(a.dtype),
    "no copy": lambda a: a.astype(a.dtype, copy=False),
    "sum": lambda a: a.sum(axis=-1) if a.ndim else a.sum(),
    "mean": lambda a: a.mean(axis=0, keepdims=True) if a.size and a.ndim else a.sum(),
    "negative": lambda a: a * 2,
    "itself": lambda a: a + a,
    "rows of it": lambda a: a + a[:1] if a.ndim else a + 1,
    "compared": lambda a: a == a,
    "view": lambda a: a.view(np.uint8)[..., None] if a.dtype == bool else a.reshape(-1).view(np.uint8),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_and_results(view: str) -> None:
    def check(array: np.ndarray) -> None:
        real, found = pair(array)
        with np.errstate(all="ignore"):
            expected = VIEWS[view](real)
        result = VIEWS[view](found)
        assert_alike(expected, result)
        owner = found if found.base is None else found.base
        if np.size(expected) and real.size:
            assert (result is found or result.base is owner) == np.may_share_memory(expected, real)

    each(check, ARRAYS.items())


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_the_memory_order_of_elementwise_results(shape: list[int], random: Any) -> None:
    operands = []
    for _ in range(random.randint(1, 3)):
        sizes = [n if random.random() < 0.8 else 1 for n in shape][random.randint(0, len(shape) - 1) :]
        order = random.sample(range(len(sizes)), len(sizes))
        a = np.zeros([sizes[i] * 2 for i in order])[tuple(slice(0, sizes[i]) for i in order)]
        if random.random() < 0.3:
            a = np.ascontiguousarray(a)
        operands.append(a.transpose(np.argsort(order)))
    fakes = [pair(a)[1] for a in operands]
    real, found = operands[0], fakes[0]
    for a, fake in zip(operands[1:], fakes[1:], strict=True):
        real, found = real + a, found + fake
    assert_alike(np.negative(real), -found)
    if len(operands) == 3:
        mask = [operands[0] > 0, fakes[0] > 0]
        assert_alike(np.where(mask[0], *operands[1:]), np.where(mask[1], *fakes[1:]))


INDICES = {
    "element": (1, 2, 0),
    "negative": -1,
    "slices": (slice(None), slice(5, 0, -2)),
    "ellipsis": (..., 0),
    "integers": np.array([0, 3, 3]),
    "two": (np.array([0, 1]), np.array([[1], [2]])),
    "apart": (np.array([0, 1]), slice(None), np.array([1, 0])),
    "after ellipsis": (..., np.array([1, 0, 1])),
    "mask": np.arange(4) > 1,
    "mask of two": np.ones((4, 6), bool),
    "list": [0, 2],
    "new": (None, np.array([1, 1])),
    "bool": True,
}


@pytest.mark.parametrize("index", INDICES)
def test_indices(index: str) -> None:
    real, found = pair(np.zeros((4, 6, 2), np.float32))
    expected = np.asarray(real[INDICES[index]])
    result = found[INDICES[index]]
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    found[INDICES[index]] = np.float32(1)
    found[INDICES[index]] = AbstractArray(expected.shape, np.float32)
    with pytest.raises(ValueError, match="could not broadcast"):
        found[INDICES[index]] = AbstractArray((7, *expected.shape), np.float32)


def test_values_to_write() -> None:
    real, found = pair(np.zeros((4, 6, 2), np.float32))
    for shape in ((), (2,), (6, 1), (1, 1, 6, 2)):
        real[0] = np.ones(shape)
        found[0] = AbstractArray(shape, np.float32)
    for shape in ((3,), (4, 6, 2), (2, 1)):
        with pytest.raises(ValueError, match="could not broadcast"):
            real[0] = np.ones(shape)
        with pytest.raises(ValueError, match="could not broadcast"):
            found[0] = AbstractArray(shape, np.float32)
    out = AbstractArray((4, 6, 2), np.float32)
    assert np.exp(found, out) is out


@pytest.mark.parametrize("index", [4, (0, 6), np.array([0, 9]), (0, 0, 0, 0), np.ones((3, 6), bool), "text", 1.5])
def test_indices_out_of_range(index: Any) -> None:
    real, found = pair(np.zeros((4, 6, 2)))
    with pytest.raises(IndexError):
        real[index]
    with pytest.raises(IndexError):
        found[index]


def test_indices_without_values() -> None:
    _, found = pair(np.zeros((4, 6, 2)))
    assert found[AbstractArray((5, 3), np.int64)].shape == (5, 3, 6, 2)
    with pytest.raises(tg.NoValueError):
        found[found > 0]
    found[found > 0] = 1


NO_VALUES = [bool, int, float, len, np.asarray, lambda a: a.item(), lambda a: a.tolist(), lambda a: [1, 2][a], str]


@pytest.mark.parametrize("use", NO_VALUES)
def test_values_are_refused(use: Any) -> None:
    a = AbstractArray((), np.int64)
    if use is str:
        assert str(a) == "AbstractArray(shape=(), dtype=int64)"
        return
    with pytest.raises((tg.NoValueError, TypeError)) as caught:
        use(a)
    assert (caught.type is TypeError) == (use is len)


def test_what_the_library_asks_of_arrays() -> None:
    a = AbstractArray((2,), np.float32)
    assert is_array(a)
    assert not is_concrete(a)
    assert not is_any(a > 0)
    assert is_any(np.ones(1, bool))
    assert module_of(a) is functions
    assert device_of(a) == "cpu"
    assert to_device(a, "cpu") is a
    assert [x.shape for x in AbstractArray((2, 3), np.float32)] == [(3,), (3,)]
    with pytest.raises(AttributeError):
        a.nothing  # noqa: B018
    a.fill(3)


def test_memory_lives_as_long_as_its_views() -> None:
    with tg.abstract() as meter:
        a = AbstractArray((10, 10), np.float32)
        assert meter.live_bytes == 400
        view = a[2:].T
        b = a + 1
        assert meter.live_bytes == 800
        del a, b
        assert meter.live_bytes == 400
        del view
        assert meter.live_bytes == 0
        assert meter.peak_bytes == 800


def test_with_numpy_and_numbers() -> None:
    a = AbstractArray((2, 3), np.float32)
    for result in (a + np.ones(3, np.float32), np.ones(3, np.float32) + a, 2 * a, a - 1.5, np.float32(2) / a):
        assert_alike(np.zeros((2, 3), np.float32), result)
    assert_alike(np.zeros((2, 3)), a + np.float64(1))
    assert_alike(np.zeros((2, 3)), np.ones(3) * a)
    before = a
    a += 1
    assert a is before
    with pytest.raises(ValueError, match="non-broadcastable"):
        a += np.ones((4, 2, 3), np.float32)
    with pytest.raises(TypeError, match="Cannot cast"):
        AbstractArray((2,), np.int64).__iadd__(1.5)
    with pytest.raises(TypeError):
        a + "text"
