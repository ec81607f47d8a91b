"""Random graphs against differences: values are used many times, in any order, by every kind of op."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorgrad as tg

ROWS = np.array([2, 0, 2])
TRIANGLE = np.tril(np.ones((3, 3), bool))

# From one or two (3, 3) values to another, smooth and of moderate size everywhere.
OPS: list[Callable[..., tg.Tensor]] = [
    lambda x, y: x + y,
    lambda x, y: x - y[0],
    lambda x, y: tg.tanh(x) * y,
    lambda x, y: x / (1.5 + tg.square(y)),
    lambda x, y: tg.sin(x) @ y,
    lambda x, y: tg.where(TRIANGLE, x, y),
    lambda x, y: tg.concat([x[:1], y[1:]]),
    lambda x, y: tg.index_add(x, ROWS, tg.tanh(y)),
    lambda x, y: tg.index_update(x, (slice(None), 1), y[:, 2]),
    lambda x, y: tg.einsum("ij,kj->ik", tg.tanh(x), tg.cos(y)),
    lambda x, y: tg.layer_norm(x + 3.0 * tg.eye(3, dtype="float64"), tg.tanh(y[1]), x[2], eps=0.5),
    lambda x, y: tg.scaled_dot_product_attention(x[None, None], tg.tanh(y)[None, None], y[None, None])[0, 0],
    lambda x, y: tg.linear(tg.sigmoid(x), tg.tanh(y), y[0]),
    lambda x, y: tg.recompute(lambda a, b: tg.gelu(a) + tg.silu(b))(x, y),
    lambda x, y: tg.recompute(lambda a: tg.tanh(a) * y)(x),
    lambda x, y: tg.softmax(x) * 2.0,
    lambda x, y: tg.log_softmax(y, axis=0) + 1.0,
    lambda x, y: x[ROWS] - x[::-1],
    lambda x, y: tg.broadcast_to(x.mean(axis=0, keepdims=True), (3, 3)),
    lambda x, y: x.T.reshape(3, 3),
    lambda x, y: tg.cumulative_sum(tg.tanh(x), axis=1),
    lambda x, y: tg.embedding(x, ROWS) * tg.logsumexp(y),
    lambda x, y: tg.stack(tg.unstack(x)[::-1]),
    lambda x, y: tg.roll(x, 1, axis=0) * 0.5,
]


@st.composite
def graphs(draw: st.DrawFn) -> Callable[..., tg.Tensor]:
    """A function of two leaves: each step applies an op to any two of the values so far."""
    steps = [
        (draw(st.integers(0, len(OPS) - 1)), draw(st.integers(0, 1 + i)), draw(st.integers(0, 1 + i)))
        for i in range(draw(st.integers(1, 6)))
    ]

    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        values = [x, y]
        for op, i, j in steps:
            values.append(OPS[op](values[i], values[j]))
        return tg.tanh(values[-1]) + values[-2] * 0.1

    return f


@given(graphs(), st.integers(0, 9))
@settings(max_examples=60)
def test_gradients_of_random_graphs(f: Callable[..., tg.Tensor], seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 3, 3))
    # A deep composition has larger higher derivatives than one op: differences are less exact, gradients are not.
    tg.check_grads(f, x, y, order=2, tolerance=1e-6)


@given(graphs(), st.integers(0, 9))
def test_every_way_of_asking_gives_the_same_gradient(f: Callable[..., tg.Tensor], seed: int) -> None:
    arrays = np.random.default_rng(seed).normal(size=(2, 3, 3))
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    expected = [g.numpy() for g in tg.grad(f(*leaves).sum(), leaves)]

    def assert_same(found: list[np.ndarray]) -> None:
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)

    assert_same([g.numpy() for g in tg.value_and_grad(lambda *xs: f(*xs).sum())(*arrays)[1]])
    assert_same([g.numpy() for g in tg.grad(f(*leaves).sum(), leaves, create_graph=True)])
    assert_same([g.numpy() for g in tg.vjp(f, *arrays)[1](np.ones((3, 3)))])
    assert_same([g.numpy() for g in tg.grad(tg.recompute(f)(*leaves).sum(), leaves)])
    # One input at a time: backward leaves out the rest of the graph.
    assert_same([tg.grad(f(*leaves).sum(), leaf)[0].numpy() for leaf in leaves])
    # Into halves of one flat buffer, twice.
    flat = np.zeros(18)
    for leaf, half in zip(leaves, (flat[:9], flat[9:]), strict=True):
        leaf.grad = tg.asarray(half.reshape(3, 3))
    for _ in range(2):
        f(*leaves).sum().backward()
    assert_same([flat[:9].reshape(3, 3) / 2, flat[9:].reshape(3, 3) / 2])
    # Forward mode agrees with the gradient along any direction.
    directions = np.random.default_rng(seed + 1).normal(size=(2, 3, 3))
    _, tangent = tg.jvp(lambda *xs: f(*xs).sum(), list(arrays), list(directions))
    along = sum((g * d).sum() for g, d in zip(expected, directions, strict=True))
    np.testing.assert_allclose(tangent.item(), along, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("op", range(len(OPS)))
def test_each_op_of_the_pool_by_itself(op: int) -> None:
    x, y = np.random.default_rng(op).normal(size=(2, 3, 3))
    tg.check_grads(OPS[op], x, y, order=2)
    tg.check_grads(lambda x: OPS[op](x, x), x, order=2)


@given(graphs(), st.integers(0, 9))
@settings(max_examples=25)
def test_backward_changes_no_value(f: Callable[..., tg.Tensor], seed: int) -> None:
    """Cotangents are added in place, but never into an array that is visible elsewhere."""
    arrays = np.random.default_rng(seed).normal(size=(2, 3, 3))
    leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
    out = f(*leaves)
    g = np.ones((3, 3))
    before = out.numpy().copy()
    kept = tg.grad(out, leaves, g, keep_graph=True)
    copies = [d.numpy().copy() for d in kept]
    out.backward(g)
    np.testing.assert_array_equal(out.numpy(), before)
    np.testing.assert_array_equal(g, 1)
    for leaf, array, first, copy in zip(leaves, arrays, kept, copies, strict=True):
        np.testing.assert_array_equal(leaf.numpy(), array)
        np.testing.assert_array_equal(first.numpy(), copy)
        if leaf.grad is None:  # not used by this graph
            np.testing.assert_array_equal(copy, 0)
            continue
        np.testing.assert_array_equal(leaf.grad.numpy(), copy)
        assert not np.shares_memory(leaf.grad.data, first.data)
