"""Tables of angles against their formulas; rotary positions are relative."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpt.model.positions import rope_tables, rotate, sinusoids
from tensorgrad import Key, Tensor, check_grads


def test_rope_tables_are_the_formula_rounded_once() -> None:
    cos, sin = rope_tables(50, 8, 10000.0, "float32", "cpu")
    assert cos.shape == sin.shape == (50, 4)
    for position in (0, 1, 49):
        for i in range(4):
            angle = position * 10000.0 ** (-2 * i / 8)
            assert cos[position, i] == np.float32(math.cos(angle))
            assert sin[position, i] == np.float32(math.sin(angle))
    assert rope_tables(50, 8, 10000.0, "float64", "cpu")[0].dtype == np.float64


def test_sinusoids_alternate_sine_and_cosine() -> None:
    table = sinusoids(30, 6, "float64", "cpu")
    for position in (0, 7, 29):
        for i in range(3):
            angle = position / 10000.0 ** (2 * i / 6)
            assert table[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-15)
            assert table[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-15)


def test_rotated_products_depend_on_the_distance_only() -> None:
    q, k = (Tensor(Key(i).normal((1, 1, 1, 8), dtype="float64")) for i in (0, 1))
    cos, sin = rope_tables(100, 8, 50.0, "float64", "cpu")

    def product(i: int, j: int) -> float:
        at_i, at_j = ((cos[p : p + 1], sin[p : p + 1]) for p in (i, j))
        return float((rotate(q, at_i).numpy() * rotate(k, at_j).numpy()).sum())

    assert product(9, 4) == pytest.approx(product(77, 72), rel=1e-12)
    assert abs(product(9, 4) - product(9, 5)) > 1e-3


def test_positions_of_each_sequence() -> None:
    x = Key(2).normal((3, 2, 4, 8), dtype="float64")
    cos, sin = rope_tables(20, 8, 100.0, "float64", "cpu")
    positions = np.array([[0, 1, 2, 3], [9, 10, 11, 12], [5, 5, 0, 19]])
    found = rotate(Tensor(x), (cos[positions], sin[positions])).numpy()
    for row, places in enumerate(positions):
        alone = rotate(Tensor(x[row : row + 1]), (cos[places], sin[places])).numpy()
        np.testing.assert_array_equal(found[row], alone[0])
    check_grads(lambda x: rotate(x, (cos[positions], sin[positions])), x)
