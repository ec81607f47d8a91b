"""Arithmetic: what is refused, what stays an array, operators; and what holds for every elementwise op."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tests.tensorgrad.ops.slopes import slopes


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (tg.abs, [0.0], [0.0]),
        (tg.abs, [-0.0], [0.0]),
        (tg.abs, [-math.inf], [-1.0]),
        (tg.abs, [math.nan], [0.0]),
        (tg.reciprocal, [0.0], [-math.inf]),
        (tg.reciprocal, [math.inf], [0.0]),
        (lambda x: x / x, [3.0], [0.0]),
        (tg.divide, [1.0, 0.0], [math.inf, -math.inf]),
        (tg.divide, [1e-200, 1e-200], [1e200, -1e200]),  # the square of y is 0
        (tg.divide, [1e200, 1e200], [1e-200, -1e-200]),  # and here inf
    ],
)
def test_conventions_where_ops_are_not_smooth(f: Any, at: list[float], expected: Any, create_graph: bool) -> None:
    np.testing.assert_allclose(slopes(f, *at, create_graph=create_graph), expected, rtol=1e-14)


def test_sign_is_a_constant_and_nan_stays_nan() -> None:
    out = tg.sign(tg.tensor([-2.0, -0.0, 0.0, math.inf, math.nan], requires_grad=True))
    assert not out.requires_grad
    np.testing.assert_array_equal(out.numpy(), [-1, 0, 0, 1, math.nan])


def test_integers_are_constants_and_bools_are_no_numbers() -> None:
    x = tg.tensor([-3, 2, 0], dtype="int32")
    for f, expected in ((abs, [3, 2, 0]), (tg.square, [9, 4, 0]), (tg.positive, [-3, 2, 0]), (tg.sign, [-1, 1, 0])):
        assert f(x).dtype == np.int32
        np.testing.assert_array_equal(f(x).numpy(), expected)
    assert (x / x.astype("int32")[:1]).dtype == np.float64
    flags = tg.tensor([True, False])
    for f in (abs, tg.negative, tg.positive, tg.square, tg.sign, tg.floor, tg.clip, tg.nan_to_num):
        with pytest.raises(tg.DTypeError, match="bool"):
            f(flags)
    with pytest.raises(tg.DTypeError, match="add: expected True or False to go with dtype bool, got 1"):
        flags + 1
    with pytest.raises(tg.DTypeError, match="subtract"):
        flags - flags


@given(
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5).flatmap(
        lambda shape: st.tuples(
            st.just(shape),
            st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(-3, 3).filter(bool)) for n in shape)),
            st.permutations(range(len(shape))),
        )
    )
)
def test_any_strides_give_the_result_of_a_contiguous_copy(layout: Any) -> None:
    shape, starts_and_steps, order = layout
    base = np.random.default_rng(0).uniform(0.5, 2.0, shape)
    view = base[tuple(slice(start, None, step) for start, step in starts_and_steps)].transpose(order)
    copy = view.copy()
    for f in (
        tg.log,
        tg.gelu,
        tg.silu,
        tg.erf,
        tg.softmax,
        lambda x: tg.layer_norm(x, tg.ones(x.shape[-1:], dtype="float64")),
    ):
        x, y = tg.asarray(view, requires_grad=True), tg.tensor(copy, requires_grad=True)
        np.testing.assert_allclose(f(x).numpy(), f(y).numpy(), rtol=1e-14, atol=1e-15)
        g = np.random.default_rng(1).normal(size=view.shape)
        expected = tg.grad(f(y), y, np.asfortranarray(g))[0].numpy()
        np.testing.assert_allclose(tg.grad(f(x), x, g)[0].numpy(), expected, rtol=1e-12, atol=1e-13)


def test_operators_are_the_ops(normal: Any) -> None:
    a, b = np.abs(normal(2, 3)) + 0.5, normal(2, 3, seed=1)
    x, y = tg.tensor(a), tg.tensor(b)
    for got, expected in (
        (x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (x**y, a**b), (-x, -a), (abs(y), np.abs(b)),
        (x @ y.T, a @ b.T), (2 - x, 2 - a), (2 / x, 2 / a), (2**x, 2**a), (1.5 + x, a + 1.5), (3 * x, 3 * a),
        (x < y, a < b), (x <= y, a <= b), (x > y, a > b), (x >= y, a >= b), (x == y, a == b), (x != y, a != b),
        (x > 1, a > 1), (~(x < y), a >= b), ((x < y) & (x > 0), (a < b) & (a > 0)),
        ((x < y) | (x > 0), (a < b) | (a > 0)),
    ):  # fmt: skip
        assert type(got) is tg.Tensor
        np.testing.assert_array_equal(got.numpy(), expected)


def test_arrays_stay_arrays_and_tensors_make_tensors() -> None:
    a = np.ones(2)
    assert type(tg.add(a, 1.0)) is np.ndarray
    assert type(tg.exp(a)) is np.ndarray
    assert type(tg.maximum(np.ones(()), 1.0)) is np.ndarray
    assert type(tg.hypot(np.float64(3.0), np.float64(4.0))) is np.ndarray
    assert type(tg.add(a, tg.tensor(a))) is tg.Tensor
    assert type(tg.copysign(a, tg.tensor(a))) is tg.Tensor
    assert not tg.add(a, tg.tensor(a)).requires_grad
    assert type(tg.sum(a)) is np.ndarray
    assert tg.sum(a).shape == ()


def test_nodes_are_called_by_the_op() -> None:
    x = tg.tensor([0.5], requires_grad=True)
    names = ("maximum", "minimum", "clip", "copysign", "nextafter", "atan2", "hypot", "pow", "logaddexp", "remainder")
    for name in names:
        assert getattr(tg, name)(x, x).node.op == name
    for name in ("erf", "erfc", "sigmoid", "expm1", "elu", "selu", "celu", "mish", "softplus", "softsign", "hardtanh"):
        assert getattr(tg, name)(x).node.op == name
