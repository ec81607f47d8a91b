"""Comparisons, logic and bits: never a gradient, and bits of integers only."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tensorgrad as tg


def test_comparisons_with_nan_and_signed_zeros() -> None:
    x, y = tg.tensor([0.0, math.nan, 1.0], requires_grad=True), tg.tensor([-0.0, math.nan, 2.0])
    for f, expected in (
        (tg.equal, [True, False, False]),
        (tg.not_equal, [False, True, True]),
        (tg.less, [False, False, True]),
        (tg.greater_equal, [True, False, False]),
    ):
        out = f(x, y)
        assert out.dtype == bool
        assert not out.requires_grad
        np.testing.assert_array_equal(out.numpy(), expected)


def test_tests_of_special_values() -> None:
    x = tg.tensor([math.inf, -math.inf, math.nan, 0.0])
    np.testing.assert_array_equal(tg.isfinite(x).numpy(), [False, False, False, True])
    np.testing.assert_array_equal(tg.isinf(x).numpy(), [True, True, False, False])
    np.testing.assert_array_equal(tg.isnan(x).numpy(), [False, False, True, False])
    assert tg.isfinite(tg.tensor([1, 2])).numpy().all()


def test_logic_of_numbers() -> None:
    x = tg.tensor([0.0, 2.0, -0.0])
    np.testing.assert_array_equal(tg.logical_not(x).numpy(), [True, False, True])
    np.testing.assert_array_equal(tg.logical_xor(x, 1.0).numpy(), [True, False, True])
    np.testing.assert_array_equal(tg.logical_and(True, x).numpy(), [False, True, False])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_bits(dtype: str) -> None:
    x, y = tg.tensor([12, 10, 127], dtype=dtype), tg.tensor([10, 0, 1], dtype=dtype)
    for f, expected in (
        (tg.bitwise_and(x, y), [8, 0, 1]),
        (tg.bitwise_or(x, y), [14, 10, 127]),
        (tg.bitwise_xor(x, 1), [13, 11, 126]),
        (tg.bitwise_right_shift(x, 2), [3, 2, 31]),
        (tg.bitwise_left_shift(1, y - y + 3), [8, 8, 8]),
    ):
        assert f.dtype == dtype
        np.testing.assert_array_equal(f.numpy(), expected)
    np.testing.assert_array_equal(tg.bitwise_invert(x).numpy(), ~x.numpy())


def test_bits_of_bools_and_of_what_has_none() -> None:
    flags = tg.tensor([True, False])
    np.testing.assert_array_equal(tg.bitwise_xor(flags, True).numpy(), [False, True])
    np.testing.assert_array_equal(tg.bitwise_invert(flags).numpy(), [False, True])
    for call, message in (
        (lambda: tg.bitwise_left_shift(flags, flags), "bitwise_left_shift: expected integers, got dtype bool"),
        (lambda: tg.bitwise_or(tg.tensor([1.0]), 1), "bitwise_or: expected integers or bools, got dtype float32"),
        (lambda: tg.bitwise_invert(tg.tensor([1.0])), "bitwise_invert: expected integers or bools"),
        (lambda: tg.bitwise_and(tg.tensor([1]), tg.tensor([1], dtype="int8")), "bitwise_and: .*int64 and int8"),
        (lambda: tg.bitwise_and(tg.tensor([1], dtype="int8"), 300), "bitwise_and"),
        (lambda: tg.equal(flags, 1), "equal: expected True or False"),
    ):
        with pytest.raises(tg.DTypeError, match=message):
            call()
    with pytest.raises(tg.ShapeError, match="bitwise_and"):
        tg.bitwise_and(tg.tensor([1, 2]), tg.tensor([1, 2, 3]))
