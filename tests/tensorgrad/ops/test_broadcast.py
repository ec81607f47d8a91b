"""reshape, broadcast_to, sum and the sum over broadcast axes that every binary op's gradient takes."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tensorgrad.ops.broadcast import sum_to

OPS = {
    "add": (np.add, lambda a, b, g: (g, g)),
    "subtract": (np.subtract, lambda a, b, g: (g, -g)),
    "multiply": (np.multiply, lambda a, b, g: (g * b, g * a)),
    "divide": (np.divide, lambda a, b, g: (g / b, -g * a / b**2)),
    "pow": (np.power, lambda a, b, g: (g * b * a ** (b - 1), g * a**b * np.log(a))),
    "maximum": (np.maximum, lambda a, b, g: (g * (a > b) + g * (a == b) / 2, g * (b > a) + g * (a == b) / 2)),
    "logaddexp": (np.logaddexp, lambda a, b, g: (g / (1 + np.exp(b - a)), g / (1 + np.exp(a - b)))),
}


def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """By its meaning: every element of g goes to the element that it came from."""
    places = np.broadcast_to(np.arange(np.prod(shape, dtype=int)).reshape(shape), g.shape)
    total = np.zeros(np.prod(shape, dtype=int))
    np.add.at(total, places.ravel(), g.ravel())
    return total.reshape(shape)


@given(
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, min_side=0, max_side=3),
    st.sampled_from(sorted(OPS)),
    st.data(),
)
def test_binary_ops_broadcast_and_sum_their_gradients_back(
    shapes: hnp.BroadcastableShapes, op: str, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    a, b = (rng.uniform(0.5, 2.0, shape) for shape in shapes.input_shapes)
    compute, gradients = OPS[op]
    x, y = tg.tensor(a, requires_grad=True), tg.tensor(b, requires_grad=True)
    out = getattr(tg, op)(x, y)
    assert out.shape == shapes.result_shape
    np.testing.assert_allclose(out.numpy(), compute(a, b), rtol=1e-13)
    g = rng.normal(size=out.shape)
    for got, expected, shape in zip(tg.grad(out, [x, y], g), gradients(a, b, g), shapes.input_shapes, strict=True):
        np.testing.assert_allclose(
            got.numpy(), unbroadcast(np.broadcast_to(expected, out.shape), shape), rtol=1e-11, atol=1e-13
        )


@given(hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=(2, 3, 1, 2), max_dims=4), st.booleans())
def test_broadcast_to_and_its_gradient(shapes: hnp.BroadcastableShapes, create_graph: bool) -> None:
    (shape,), target = shapes.input_shapes, shapes.result_shape
    a = np.random.default_rng(0).normal(size=shape)
    x = tg.tensor(a, requires_grad=True)
    out = tg.broadcast_to(x, target)
    np.testing.assert_array_equal(out.numpy(), a + np.zeros(target))
    g = np.random.default_rng(1).normal(size=target)
    np.testing.assert_allclose(
        tg.grad(out, x, g, create_graph=create_graph)[0].numpy(), unbroadcast(g, shape), rtol=1e-12, atol=1e-14
    )


def test_broadcast_to_costs_no_memory() -> None:
    x = tg.tensor(np.ones((1, 3)), requires_grad=True)
    out = tg.broadcast_to(x, (1000, 3))
    assert np.shares_memory(out.data, x.data)
    assert not out.data.flags.writeable


@pytest.mark.parametrize(
    ("g", "shape", "expected"),
    [
        (np.ones((2, 3)), (3,), [2.0, 2.0, 2.0]),
        (np.ones((2, 3)), (2, 1), [[3.0], [3.0]]),
        (np.ones((2, 3)), (), 6.0),
        (np.ones((0, 3)), (1, 3), [[0.0, 0.0, 0.0]]),
        (np.ones((2, 0)), (2, 0), np.ones((2, 0))),
    ],
)
def test_sum_to(g: np.ndarray, shape: tuple[int, ...], expected: Any) -> None:
    out = sum_to(g, shape)
    assert out.shape == shape
    np.testing.assert_array_equal(out, expected)


def test_sum_of_integers_and_bools_does_not_overflow() -> None:
    assert tg.sum(tg.tensor(np.full(300, 100, np.int8))).item() == 30_000
    assert tg.sum(tg.tensor(np.full(300, 200, np.uint8))).item() == 60_000
    assert tg.sum(tg.tensor([True, True, False])).item() == 2
    assert tg.sum(tg.tensor([True])).dtype == np.int64
    assert tg.sum(tg.ones((2,), dtype="float32")).dtype == np.float32


@given(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4), st.randoms(use_true_random=False))
def test_reshape_to_any_order_of_the_same_factors(shape: tuple[int, ...], random: Any) -> None:
    new = list(shape)
    random.shuffle(new)
    a = np.random.default_rng(0).normal(size=shape)
    x = tg.tensor(a, requires_grad=True)
    out = tg.reshape(x, new)
    np.testing.assert_array_equal(out.numpy().ravel(), a.ravel())
    g = np.random.default_rng(1).normal(size=new)
    np.testing.assert_array_equal(tg.grad(out, x, g)[0].numpy().ravel(), g.ravel())
