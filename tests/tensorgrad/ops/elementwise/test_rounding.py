"""Rounding, quotients and remainders, signs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tests.tensorgrad.ops.slopes import slopes

inf, nan = math.inf, math.nan


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "uint8"])
def test_rounding_keeps_the_dtype(dtype: str) -> None:
    values = [0.5, 1.5, 2.5, 3.7] if dtype.startswith("f") else [0, 1, 2, 3]
    x = tg.tensor(values, dtype=dtype)
    for f, theirs in ((tg.ceil, math.ceil), (tg.floor, math.floor), (tg.trunc, math.trunc), (tg.round, round)):
        assert f(x).dtype == x.dtype
        np.testing.assert_array_equal(f(x).numpy(), [theirs(v) for v in x.numpy().tolist()])


def test_rounding_is_a_constant_to_gradients_and_keeps_special_values() -> None:
    x = tg.tensor([-0.2, -0.0, inf, -inf, nan], requires_grad=True)
    for f in (tg.ceil, tg.floor, tg.trunc, tg.round):
        out = f(x)
        assert not out.requires_grad
        np.testing.assert_array_equal(out.numpy()[2:], [inf, -inf, nan])
        assert np.signbit(out.numpy()[0])
        assert np.signbit(out.numpy()[1])
    assert not tg.floor_divide(x[:2], 2.0).requires_grad


def test_floor_division_does_not_round_its_quotient_first() -> None:
    x, y = tg.tensor(np.array([0.3, -7.0, 7.0])), tg.tensor(np.array([0.1, 2.0, -2.0]))
    np.testing.assert_array_equal(tg.floor_divide(x, y).numpy(), [0.3 // 0.1, -7 // 2, 7 // -2])
    np.testing.assert_array_equal(tg.remainder(x, y).numpy(), [0.3 % 0.1, -7 % 2, 7 % -2])
    i = tg.tensor([7, -7])
    np.testing.assert_array_equal(tg.floor_divide(i, -2).numpy(), [-4, 3])
    np.testing.assert_array_equal(tg.remainder(i, -2).numpy(), [-1, -1])
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(tg.floor_divide(i, 0).numpy(), [0, 0])


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (tg.remainder, [7.5, 2.0], [1.0, -3.0]),
        (tg.remainder, [-7.5, 2.0], [1.0, 4.0]),
        (tg.remainder, [1.0, 0.0], [1.0, -inf]),
        (tg.remainder, [1.0, -inf], [1.0, 1.0]),
        (tg.remainder, [2.0, 2.0], [1.0, -1.0]),
        (tg.copysign, [2.0, -1.0], [-1.0, 0.0]),
        (tg.copysign, [-2.0, -0.0], [1.0, 0.0]),
        (tg.copysign, [0.0, -1.0], [0.0, 0.0]),
        (tg.copysign, [inf, -1.0], [-1.0, 0.0]),
        (tg.copysign, [nan, 1.0], [nan, 0.0]),
        (tg.nextafter, [1.0, 2.0], [1.0, 0.0]),
        (tg.nextafter, [1.0, 1.0], [0.0, 0.0]),
    ],
)
def test_conventions(f: Any, at: list[float], expected: Any, create_graph: bool) -> None:
    np.testing.assert_array_equal(slopes(f, *at, create_graph=create_graph), expected)


def test_signs_and_neighbours() -> None:
    np.testing.assert_array_equal(tg.signbit(tg.tensor([0.0, -0.0, -inf, 1.0])).numpy(), [False, True, True, False])
    x = tg.tensor([1.0, 0.0, inf], dtype="float32")
    np.testing.assert_array_equal(
        tg.nextafter(x, 0.0).numpy(), np.array([1 - 2.0**-24, 0, np.finfo(np.float32).max], np.float32)
    )
    assert tg.nextafter(x, 2).numpy()[1] == np.finfo(np.float32).smallest_subnormal
    for f in (tg.copysign, tg.nextafter):
        y = tg.tensor([1.0], requires_grad=True)
        assert not f(tg.tensor([2.0]), y).requires_grad
        assert f(y, tg.tensor([2.0, 3.0])).requires_grad
