"""One copy of a buffer in a narrower dtype serves every reader of its parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.rounding import rounded, rounding_once

HALF = np.dtype("float16")


@pytest.fixture
def buffer() -> np.ndarray:
    return np.random.default_rng(0).normal(size=40).astype(np.float32)


def test_parts_of_the_buffer_are_parts_of_the_copy(buffer: np.ndarray) -> None:
    parts, copy = [buffer, buffer[:0], buffer[4:16].reshape(3, 4), buffer[16:].reshape(4, 6)[1:3]], buffer.astype(HALF)
    with rounding_once(buffer, copy):
        for part in parts:
            got = rounded(part, HALF)
            np.testing.assert_array_equal(got, part.astype(HALF))
            assert not got.size or np.shares_memory(got, copy)


def test_everything_else_is_converted(buffer: np.ndarray) -> None:
    others = [buffer.copy(), buffer[::2], buffer.reshape(5, 8).T, buffer.astype(float), np.ones(3, np.float32)]
    double = np.dtype("float64")
    copy = buffer[8:24].astype(HALF)
    with rounding_once(buffer[8:24], copy):
        assert np.shares_memory(rounded(buffer[8:24], HALF), copy)
        for x in (*others, buffer, buffer[:12], buffer[20:]):
            got = rounded(x, HALF)
            np.testing.assert_array_equal(got, x.astype(HALF))
            assert not np.shares_memory(got, copy)
        assert rounded(buffer, buffer.dtype) is buffer
        np.testing.assert_array_equal(rounded(buffer, double), buffer.astype(double))
    assert not np.shares_memory(rounded(buffer[8:24], HALF), copy)


def test_ops_take_the_copy_and_give_the_same(buffer: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias, up, down = buffer[:12].reshape(3, 4), buffer[12:15], buffer[16:24].reshape(2, 4), buffer[24:30]
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(HALF)

    def results() -> list[np.ndarray]:
        arrays = (weight, bias, up, down.reshape(3, 2))
        leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
        for leaf, a in zip(leaves, arrays, strict=True):
            leaf.data = a  # itself, not a copy
        w, b, u, d = leaves
        out = tg.linear(x, w, b) + tg.mlp(x, u, d) + tg.astype(b, HALF, copy=False)
        return [out.numpy(), *(g.numpy() for g in tg.grad(out, leaves, np.ones(out.shape, HALF)))]

    expected = results()
    kernels: Any = tg.kernels.kernels_for(buffer)
    cast, seen = kernels.cast, []
    monkeypatch.setattr(kernels, "cast", lambda a, dtype: seen.append(a) or cast(a, dtype))
    with rounding_once(buffer, cast(buffer, HALF)):
        got = results()
    assert [a.size for a in seen if a.dtype == np.float32] == []
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
