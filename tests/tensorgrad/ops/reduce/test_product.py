"""Products with zeros, at every order, and of integers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import tensorgrad as tg


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_is_exact_with_any_number_of_zeros(zeros: int) -> None:
    a = np.array([2.0, -3.0, 5.0, 0.5, 7.0])
    a[:zeros] = 0
    x = tg.tensor(a, requires_grad=True)
    expected = [math.prod(v for j, v in enumerate(a) if j != i) for i in range(5)]
    np.testing.assert_array_equal(tg.grad(tg.prod(x), x)[0].numpy(), expected)
    tg.check_grads(tg.prod, a, order=2)


def test_derivatives_of_third_order_with_three_zeros() -> None:
    """d3 / dx_i dx_j dx_k is the product of the others, for three different elements, else 0."""
    a = np.array([0.0, 3.0, 0.0, 2.0, 0.0])
    x = tg.tensor(a, requires_grad=True)
    (first,) = tg.grad(tg.prod(x), x, create_graph=True)
    for i, j in itertools.product(range(5), repeat=2):
        (second,) = tg.grad(first[i], x, create_graph=True)
        third = tg.grad(second[j], x, create_graph=True)[0].numpy()
        for k in range(5):
            others = math.prod(v for m, v in enumerate(a) if m not in (i, j, k))
            assert third[k] == (others if len({i, j, k}) == 3 else 0)


def test_prod_of_integers_does_not_overflow_their_dtype() -> None:
    out = tg.prod(tg.tensor(np.full(4, 100, np.int8)))
    assert (out.item(), out.dtype) == (100_000_000, np.int64)
    out = tg.prod(tg.tensor(np.full(4, 200, np.uint8)))
    assert (out.item(), out.dtype) == (1_600_000_000, np.uint64)
    assert tg.prod(tg.tensor([True, True])).item() == 1


def test_prod_in_another_dtype() -> None:
    x = tg.tensor([1e30, 1e30, 2.0], dtype="float32", requires_grad=True)
    out = tg.prod(x, dtype="float64")
    assert out.dtype == tg.float64
    np.testing.assert_allclose(out.item(), 2e60, rtol=1e-6)
    with np.errstate(over="ignore"):
        assert tg.grad(out, x)[0].dtype == tg.float32
    assert tg.prod(tg.tensor([2, 3], dtype="int8"), dtype="float32").dtype == tg.float32
    out = tg.prod(tg.tensor([[1.5, 2.5]]), axis=1, dtype="int16", keepdims=True)
    assert (out.item(), out.dtype, out.requires_grad) == (2, tg.int16, False)
    assert tg.prod(tg.zeros((0,), dtype="int8"), dtype="int8").dtype == tg.int8


def test_float32_products_are_rounded_once() -> None:
    a = np.random.default_rng(0).uniform(0.99, 1.01, (5000, 3)).astype(np.float32)
    x = tg.tensor(a, requires_grad=True)
    out = tg.prod(x, axis=0)
    expected = np.prod(a.astype(np.float64), axis=0)
    np.testing.assert_allclose(out.numpy(), expected, rtol=6e-8)
    (dx,) = tg.grad(out, x, np.ones(3, np.float32))
    np.testing.assert_allclose(dx.numpy(), expected / a, rtol=1.3e-7)


def test_prod_of_one_element_is_not_a_view() -> None:
    x = tg.ones((3, 1))
    assert not np.shares_memory(tg.prod(x, axis=1).data, x.data)
    assert not np.shares_memory(tg.prod(x, axis=()).data, x.data)
