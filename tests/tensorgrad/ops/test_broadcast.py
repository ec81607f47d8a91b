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
    """By its definition: every element of g goes to the element that it came from."""
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
    assert tg.sum(tg.tensor([1], dtype="uint8")).dtype == np.uint64
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


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))
def test_broadcast_arrays_and_shapes(shapes: hnp.BroadcastableShapes) -> None:
    assert tg.broadcast_shapes(*shapes.input_shapes) == shapes.result_shape
    arrays = [np.random.default_rng(0).normal(size=shape) for shape in shapes.input_shapes]
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    outs = tg.broadcast_arrays(*xs)
    assert type(outs) is list
    for out, x, a in zip(outs, xs, arrays, strict=True):
        np.testing.assert_array_equal(out.numpy(), np.broadcast_to(a, shapes.result_shape))
        g = np.ones(shapes.result_shape)
        np.testing.assert_array_equal(tg.grad(out, x, g)[0].numpy(), unbroadcast(g, a.shape))


def test_of_no_shapes() -> None:
    assert tg.broadcast_shapes() == ()
    assert tg.broadcast_arrays() == []


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    for program, message in (
        (lambda: tg.broadcast_shapes((2, 3), (2,)), r"broadcast_shapes: .*got \(2, 3\) and \(2,\)"),
        (lambda: tg.broadcast_shapes((2, -1)), "broadcast_shapes: expected sizes >= 0"),
        (lambda: tg.broadcast_arrays(tg.ones((2, 3)), tg.ones((2,))), "broadcast_shapes: "),
        (lambda: tg.broadcast_to(tg.ones((2,)), (3,)), r"broadcast_to: .*got \(3,\)"),
    ):
        with pytest.raises(tg.ShapeError, match=message):
            program()


def test_reshape_copies_as_it_is_told() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3))
    assert np.shares_memory(tg.reshape(x, (6,)).data, x.data)
    assert np.shares_memory(tg.reshape(x, (6,), copy=False).data, x.data)
    assert not np.shares_memory(tg.reshape(x, (6,), copy=True).data, x.data)
    assert not np.shares_memory(tg.reshape(x, (2, 3), copy=True).data, x.data)
    assert tg.reshape(x.T, (6,), copy=True).numpy().tolist() == [0, 3, 1, 4, 2, 5]
    assert tg.reshape(tg.ones((0, 3)).T, (0,), copy=False).shape == (0,)
    with pytest.raises(ValueError, match="reshape: expected memory"):
        tg.reshape(x.T, (6,), copy=False)


def test_sum_in_another_dtype() -> None:
    x = tg.tensor([1.5, 2.5], dtype="float32", requires_grad=True)
    out = tg.sum(x, dtype="float64")
    assert (out.dtype, out.item()) == (tg.float64, 4)
    assert tg.grad(out, x)[0].dtype == tg.float32
    for source, dtype, expected in (("int8", "int8", 44), ("uint8", "int32", 300), ("bool", "float32", 3.0)):
        counts = tg.tensor([100, 100, 100] if source != "bool" else [True] * 3, dtype=source)
        out = tg.sum(counts, dtype=dtype)
        assert (out.dtype, out.item()) == (np.dtype(dtype), expected)
    out = tg.sum(x, dtype="int16", axis=0, keepdims=True)
    assert (out.dtype, out.requires_grad, out.shape) == (tg.int16, False, (1,))
