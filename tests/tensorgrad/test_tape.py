"""The tape: what backward may and may not do, how long values live, how deep a graph can be."""

from __future__ import annotations

import functools
import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


@pytest.fixture
def without_collector() -> Iterator[None]:
    """The cyclic garbage collector is off: reference counts alone free memory."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def variable(*values: float) -> tg.Tensor:
    return tg.tensor(np.array(values), requires_grad=True)


def held_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


# --- depth -------------------------------------------------------------------------------------


def test_a_chain_of_100_000_ops_differentiates(without_collector: None) -> None:
    x = variable(1.0)
    y = x
    for _ in range(50_000):
        y = y * 1.00001 + 0.0
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 1.00001**50_000, rtol=1e-9)


@pytest.mark.untraced
def test_a_chain_of_100_000_ops_is_recorded_to_second_order() -> None:
    x = variable(0.5)
    y = x
    for _ in range(100_000):
        y = -y
    (slope,) = tg.grad(y * y, x, create_graph=True)
    assert tg.grad(slope, x)[0].item() == 2.0


@pytest.mark.untraced
def test_a_chain_of_1_000_000_ops_is_released_without_recursion(without_collector: None) -> None:
    y = variable(1.0)
    for _ in range(1_000_000):
        y = y * y  # each vjp holds its Tensor, and through it the whole chain
    node = weakref.ref(y.node)
    del y
    assert node() is None


def test_a_wide_graph_adds_up() -> None:
    x = variable(2.0)
    parts = [x * float(i) for i in range(1000)]
    tg.concat(parts).sum().backward()
    assert x.grad.item() == 999 * 1000 / 2


# --- how long values live ----------------------------------------------------------------------


def test_100_chained_adds_hold_three_arrays(without_collector: None) -> None:
    array_bytes = 100_000
    x = tg.tensor(np.ones(array_bytes // 8), requires_grad=True)
    tracemalloc.start()
    y = x
    for _ in range(100):
        y = y + x
    held = held_bytes()
    _, peak = tracemalloc.get_traced_memory()
    y.sum().backward()
    tracemalloc.stop()
    # x existed before, so two more may be alive at once, and one at the end.
    nodes_bytes = 100 * 1500
    assert held < 1 * array_bytes + nodes_bytes
    assert peak < 2 * array_bytes + nodes_bytes
    np.testing.assert_array_equal(x.grad.numpy(), np.full(array_bytes // 8, 101.0))


def test_a_node_holds_no_value_that_its_gradient_does_not_need(without_collector: None) -> None:
    x = tg.tensor(np.ones(1000), requires_grad=True)
    h = x + 1.0
    y = h * 2.0
    z = tg.sin(y)
    lives = [weakref.ref(t.data) for t in (h, y)]
    del h, y
    assert lives[0]() is None  # + and * by a number do not need it
    assert lives[1]() is not None  # cos(y) is the gradient of sin
    z.sum().backward()
    assert lives[1]() is None


def test_memory_falls_while_backward_proceeds(without_collector: None) -> None:
    steps, array_bytes = 20, 800_000
    seen: list[int] = []

    def watched(x: tg.Tensor) -> tg.Tensor:
        def vjp(g: Any) -> Any:
            seen.append(held_bytes())
            return g

        return tg.record(x.data, (x, vjp))

    tracemalloc.start()
    x = tg.tensor(np.full(array_bytes // 8, 0.3), requires_grad=True)
    y = x
    for _ in range(steps):
        y = watched(tg.sin(y))
    loss = y.sum()
    del y
    before = held_bytes()
    loss.backward()
    after = held_bytes()
    tracemalloc.stop()
    assert before > (steps - 1) * array_bytes
    falls = -np.diff(seen)
    assert len(falls) == steps - 1
    # Once the two arrays that backward itself works with are there, each step frees one.
    assert (falls[2:] > 0.9 * array_bytes).all()
    assert after < 2.1 * array_bytes + 100_000  # x and its gradient


def test_nothing_is_left_for_the_cyclic_collector(without_collector: None) -> None:
    def work() -> None:
        x = tg.tensor(np.random.default_rng(0).normal(size=(2, 2, 4, 4)), requires_grad=True)
        w = tg.tensor(np.ones(4), requires_grad=True)
        h = tg.softmax(tg.exp(tg.layer_norm(x, w)))
        h = tg.scaled_dot_product_attention(h, h, x, is_causal=True)
        h = tg.recompute(lambda h: tg.gelu(tg.einsum("bhij,bhjk->bhik", h, x)))(h)
        loss = tg.cross_entropy(tg.concat([h, h[:, ::-1]]), np.zeros((4, 2, 4), int)) + tg.logsumexp(h) + h.max()
        (slope,) = tg.grad(loss, x, create_graph=True)
        tg.grad((slope * slope).sum(), [x, w])
        tg.prod(x[0, 0]).backward()
        del loss, slope, h
        abandoned = tg.exp(x) * x  # recorded, and never run back
        del abandoned

    work()
    gc.collect()
    work()
    assert gc.collect() == 0


# --- once --------------------------------------------------------------------------------------


def test_a_second_backward_says_that_the_graph_is_gone() -> None:
    x = variable(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(tg.GraphError, match=r"freed by an earlier backward.*create_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 4.0])


def test_grad_of_a_freed_graph_raises_and_does_not_answer_zeros() -> None:
    x = variable(1.0, 2.0)
    h = tg.exp(x)
    y = (h * h).sum()
    tg.grad(y, x)
    with pytest.raises(tg.GraphError, match="freed"):
        tg.grad(y, x)
    with pytest.raises(tg.GraphError, match="freed"):
        tg.grad(h.sum() + y, x)


def test_a_new_graph_on_freed_values_raises_only_where_it_needs_them() -> None:
    x = variable(1.0, 2.0)
    h = x * x
    h.sum().backward()
    z = (h * 3.0).sum()
    np.testing.assert_array_equal(tg.grad(z, h, keep_graph=True)[0].numpy(), [3.0, 3.0])
    with pytest.raises(tg.GraphError, match="freed"):
        tg.grad(z, x)


def test_grad_frees_only_what_it_ran_through() -> None:
    x = variable(1.0, 2.0)
    h = x * x
    y = (h * 3.0).sum()
    tg.grad(y, h)
    np.testing.assert_array_equal(tg.grad(h.sum(), x)[0].numpy(), [2.0, 4.0])


def test_keep_graph_and_create_graph_keep_it() -> None:
    x = variable(1.0, 2.0)
    y = (x * x).sum()
    for options in ({"keep_graph": True}, {"create_graph": True}, {}):
        np.testing.assert_array_equal(tg.grad(y, x, **options)[0].numpy(), [2.0, 4.0])


def test_a_failed_backward_leaves_recording_on() -> None:
    x = variable(1.0)

    def vjp(g: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tg.record(x.data, (x, vjp)).backward()
    assert tg.is_recording()
    assert (x * 2.0).requires_grad


# --- cotangents --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda g: g[:1], tg.ShapeError, r"the vjp of .* own shape \(2,\).*\(1,\)"),
        (lambda g: g.reshape(2, 1), tg.ShapeError, r"\(2, 1\)"),
        (lambda g: g.astype("float32"), tg.DTypeError, "float64.*float32"),
        (lambda g: None, tg.DTypeError, "got None"),
        (lambda g: 1.0, tg.DTypeError, "got 1.0"),
    ],
)
def test_a_wrong_custom_vjp_raises(bad: Any, error: type[Exception], message: str) -> None:
    x = variable(1.0, 2.0)
    for make in (
        lambda: tg.record(x.data * 1.0, (x, bad)),
        lambda: tg.record_joint(x.data * 1.0, [x], lambda g: [bad(g)]),
    ):
        for options in ({}, {"create_graph": True}):
            with pytest.raises(error, match=message):
                tg.grad(make().sum(), x, **options)


@pytest.mark.parametrize(
    ("gradient", "error"),
    [
        (np.ones(3), tg.ShapeError),
        (np.ones((2, 1)), tg.ShapeError),
        (np.ones(2, np.float32), tg.DTypeError),
        ([1.0, 1.0], tg.DTypeError),
        (1.0, tg.ShapeError),
    ],
)
def test_a_wrong_seed_raises_and_adds_nothing(gradient: Any, error: type[Exception]) -> None:
    x = variable(1.0, 2.0)
    with pytest.raises(error, match="the gradient given"):
        (x * 1.0).backward(gradient)
    assert x.grad is None


def test_a_number_is_a_seed_in_any_float_dtype() -> None:
    for dtype in ("float32", "float64"):
        x = tg.tensor([1.0], dtype=dtype, requires_grad=True)
        x.sum().backward(2.0)
        assert x.grad.item() == 2.0


def test_grad_accumulates_and_is_its_own_array() -> None:
    x, z = variable(1.0, 2.0), variable(1.0, 2.0)
    seed = np.array([1.0, 3.0])
    (x + z).backward(seed)
    for leaf in (x, z):
        assert leaf.grad.data.base is None
        assert not np.shares_memory(leaf.grad.data, seed)
    assert not np.shares_memory(x.grad.data, z.grad.data)
    (x * 2.0).backward(seed)
    np.testing.assert_array_equal(x.grad.numpy(), [3.0, 9.0])
    np.testing.assert_array_equal(z.grad.numpy(), [1.0, 3.0])


def test_grad_is_its_own_array_after_create_graph_too() -> None:
    x, z = variable(1.0, 2.0), variable(1.0, 2.0)
    (x + z).sum().backward(create_graph=True)
    (x + z).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])
    np.testing.assert_array_equal(z.grad.numpy(), [2.0, 2.0])


def test_backward_with_create_graph_makes_grads_that_differentiate() -> None:
    x = variable(2.0)
    (x * x * x).backward(create_graph=True)
    assert x.grad.item() == 12.0
    assert tg.grad(x.grad, x)[0].item() == 12.0
    x.grad = None  # with create_graph a leaf's .grad leads back to the leaf: removed, so that no cycle remains


def test_grad_may_be_a_view_of_a_flat_buffer() -> None:
    flat = np.zeros(10)
    w, b = tg.tensor(np.ones((2, 3)), requires_grad=True), variable(1.0, 2.0)
    w.grad, b.grad = tg.asarray(flat[:6].reshape(2, 3)), tg.asarray(flat[7:9])
    for _ in range(2):
        (w.sum(axis=1) * b).sum().backward()
    np.testing.assert_array_equal(flat, [2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 0.0, 6.0, 6.0, 0.0])
    assert w.grad.data.base is flat


def test_grad_leaves_dot_grad_alone_and_unreached_inputs_get_zeros() -> None:
    x, unused = variable(1.0, 2.0), tg.tensor(np.ones((3, 1), np.float32), requires_grad=True)
    dx, dunused = tg.grad((x * x).sum(), [x, unused])
    assert x.grad is None
    assert unused.grad is None
    np.testing.assert_array_equal(dx.numpy(), [2.0, 4.0])
    np.testing.assert_array_equal(dunused.numpy(), np.zeros((3, 1)))
    assert dunused.dtype == np.float32
    for create_graph in (False, True):
        (zero,) = tg.grad((x * x).sum(), unused, create_graph=create_graph)
        assert zero.shape == (3, 1)


def test_grad_of_several_outputs_and_of_values_in_between() -> None:
    x = variable(1.0, 2.0)
    h = x * x
    y, z = h.sum(), h * h
    dx, dh = tg.grad([y, z, h], [x, h], [None, np.ones(2), np.array([10.0, 20.0])])
    np.testing.assert_array_equal(dh.numpy(), 1 + 2 * np.array([1.0, 4.0]) + [10.0, 20.0])
    np.testing.assert_array_equal(dx.numpy(), dh.numpy() * 2 * x.numpy())
    (dx,) = tg.grad([(x * x).sum(), (x * 3.0).sum()], x)
    np.testing.assert_array_equal(dx.numpy(), 2 * x.numpy() + 3)


def test_the_same_input_asked_twice_gets_two_arrays() -> None:
    x = variable(1.0, 2.0)
    first, second = tg.grad((x * x).sum(), [x, x])
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert not np.shares_memory(first.data, second.data)


def test_an_unused_result_does_not_hold_back_the_rest() -> None:
    x = variable(1.0, 2.0)
    h = tg.exp(x)
    _ = h * 5.0  # a consumer that backward never sees
    h.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]))


def test_only_leaves_collect() -> None:
    x = variable(1.0)
    h = x * 2.0
    (h * h).backward()
    assert h.grad is None
    assert x.grad.item() == 8.0


# --- order -------------------------------------------------------------------------------------


def test_orders_up_to_four() -> None:
    x = variable(0.7)
    value = np.float64(0.7)
    y = tg.exp(tg.square(x))
    d = [y]
    for _ in range(4):
        d.append(tg.grad(d[-1], x, create_graph=True)[0])
    e = np.exp(value**2)
    expected = [1, 2 * value, 2 + 4 * value**2, 12 * value + 8 * value**3, 12 + 48 * value**2 + 16 * value**4]
    np.testing.assert_allclose([t.item() for t in d], np.array(expected) * e, rtol=1e-13)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: tg.softmax(x),
        lambda x: tg.layer_norm(x, tg.ones((3,), dtype="float64")),
        lambda x: tg.gelu(x) * tg.silu(x),
        lambda x: tg.cross_entropy(x, np.array([1, 2])),
        lambda x: tg.sigmoid(x) ** 2.5 / tg.logsumexp(x, axis=-1, keepdims=True),
        lambda x: tg.scaled_dot_product_attention(x[None, None], x[None, None], tg.sin(x)[None, None], is_causal=True),
    ],
)
def test_third_order(f: Any) -> None:
    tg.check_grads(f, np.random.default_rng(0).normal(size=(2, 3)), order=3)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: tg.layer_norm(x, x[0] * 2.0, tg.exp(x[1])),
        lambda x: tg.rms_norm(x, tg.square(x[0])),
        lambda x: tg.scaled_dot_product_attention((q := tg.sin(x))[None, None], (q * x)[None, None], x[None, None]),
        lambda x: tg.linear(x, tg.tanh(x), x[:, 0]),
    ],
)
def test_fused_ops_whose_inputs_are_computed_from_each_other(f: Any) -> None:
    tg.check_grads(f, np.random.default_rng(1).normal(size=(3, 3)), order=2)


# --- modes -------------------------------------------------------------------------------------


def test_no_grad_nests_restores_and_decorates() -> None:
    x = variable(1.0)
    with tg.no_grad():
        with tg.no_grad():
            assert not (x * 2.0).requires_grad
        assert not tg.is_recording()
        assert not tg.concat([x, x]).requires_grad
        assert not tg.softmax(x).requires_grad
    assert (x * 2.0).requires_grad
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        raise ZeroDivisionError
    assert tg.is_recording()

    @tg.no_grad()
    def double(x: tg.Tensor) -> tg.Tensor:
        return x * 2.0

    for _ in range(2):
        assert not double(x).requires_grad
    assert tg.is_recording()


def test_backward_works_under_no_grad() -> None:
    x = variable(3.0)
    y = x * x
    with tg.no_grad():
        (slope,) = tg.grad(y, x, create_graph=True)
    assert tg.grad(slope, x)[0].item() == 2.0


def test_each_thread_has_its_own_mode() -> None:
    x = variable(1.0)
    seen: dict[str, bool] = {}
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        seen["at start"] = (x * 2.0).requires_grad
        with tg.no_grad():
            inside.set()
            done.wait(5)
            seen["in its own"] = (x * 2.0).requires_grad

    with tg.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(5)
    assert (x * 2.0).requires_grad  # while the other thread is inside no_grad
    done.set()
    thread.join()
    assert seen == {"at start": True, "in its own": False}


def test_ops_inside_a_first_order_vjp_return_arrays() -> None:
    x = variable(1.0, 2.0)
    kinds = []

    def vjp(g: Any) -> Any:
        out = tg.multiply(g, x)
        kinds.append((type(g), type(out), type(tg.sum(out))))
        return out

    tg.grad(tg.record(x.data.copy(), (x, vjp)), x, np.ones(2))
    tg.grad(tg.record(x.data.copy(), (x, vjp)), x, np.ones(2), create_graph=True)
    assert kinds == [(np.ndarray,) * 3, (tg.Tensor,) * 3]


def test_nodes_tell_the_op_that_made_them() -> None:
    x = variable(1.0, 2.0)
    y = tg.layer_norm(x * 2.0, x)
    assert (x.node.op, y.node.op, y.sum().node.op) == ("leaf", "layer_norm", "sum")
    y.sum().backward()
    assert y.node.op == "freed"


# --- custom ops --------------------------------------------------------------------------------


def test_record_with_the_output_and_with_arrays() -> None:
    def cube_root(x: Any) -> Any:
        out = np.cbrt(tg.tape.data(x))
        return tg.record(out, (x, lambda g, y: tg.divide(g, tg.multiply(tg.square(y), 3))), keep_output=True)

    tg.check_grads(cube_root, np.array([0.5, 1.5, -2.0]), order=3)
    assert type(cube_root(np.ones(2))) is np.ndarray
    assert not cube_root(tg.ones((2,))).requires_grad


def test_recorded_gradients_add_up_and_are_differentiable() -> None:
    x = variable(1.0, 2.0)
    (x**3).sum().backward(create_graph=True)
    (x**2).sum().backward(create_graph=True)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [3 + 2, 12 + 4])
    (second,) = tg.grad(x.grad.sum(), x)
    np.testing.assert_allclose(second.numpy(), [6 + 2, 12 + 2])


def test_grad_of_several_scalars_is_that_of_their_sum() -> None:
    x = variable(1.0, 2.0)
    (g,) = tg.grad([(x * x).sum(), (x * 3.0).sum()], x)
    np.testing.assert_array_equal(g.numpy(), [5.0, 7.0])


def test_a_dtype_that_is_equal_and_not_the_same_object_is_accepted() -> None:
    x = tg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    same = np.dtype(np.float64, metadata={"unit": "m"})
    assert same is not x.dtype
    tg.record(x.numpy() * 2, (x, lambda g: (g * 2).astype(same))).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]


def test_a_freed_node_says_so() -> None:
    x = tg.ones((2,), requires_grad=True)
    y = x * x
    y.sum().backward()
    assert "op=freed" in repr(y)


def tripled(x: tg.Tensor) -> tg.Tensor:
    def vjp(factor: float, g: Any) -> Any:
        return g * factor

    return tg.record(x.numpy() * 3, (x, functools.partial(functools.partial(vjp), 3.0)))


def test_an_op_is_named_after_its_function_also_where_its_vjp_is_a_partial() -> None:
    x = tg.ones((2,), requires_grad=True)
    assert "op=tripled" in repr(tripled(x))
    tripled(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]


def _gradients_of_shared_weights(seen: list[bytes]) -> list[bytes]:
    """Matrices that are used twice, large enough for several threads to share their gradients."""
    rng = np.random.default_rng(0)
    table, w = (tg.tensor(rng.normal(size=(n, 256)).astype(np.float32), requires_grad=True) for n in (600, 256))
    table.grad, w.grad = (tg.Tensor(np.ones(x.shape, np.float32)) for x in (table, w))

    def look(g: tg.Tensor) -> None:
        seen.append(w.grad.numpy().tobytes())  # type: ignore[union-attr]

    inputs = rng.normal(size=(600, 256)).astype(np.float32)
    hidden = tg.tanh(tg.linear(inputs, w))
    hidden.register_hook(look)
    tg.sum(tg.square(tg.linear(hidden, w))).backward()
    of_w = w.grad.numpy().tobytes()
    # Here backward ends by adding to a gradient that other threads may still be adding to.
    tg.sum(tg.square(tg.linear(tg.embedding(table, np.arange(1200) % 600), table))).backward()
    return [of_w, table.grad.numpy().tobytes()]


def test_gradients_that_other_threads_add_are_complete_wherever_they_can_be_seen() -> None:
    seen: list[bytes] = []
    with tg.threads(1):
        expected = _gradients_of_shared_weights(seen)
    for count in (2, 3):
        with tg.threads(count):
            assert _gradients_of_shared_weights(seen) == expected
    assert len(set(seen)) == 1


def test_a_first_gradient_is_written_to_its_place_and_more_are_added() -> None:
    w = tg.tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    place = tg.tensor(np.full((2, 2), np.nan))
    tg.tape.place_gradient(w, place)
    assert w.grad is None
    x = np.array([[1.0, 10.0], [100.0, 1000.0]])
    sums = x.sum(axis=0) * np.ones((2, 1))
    losses: list[tuple[Callable[[], tg.Tensor], Any]] = [
        (lambda: tg.linear(x, w).sum(), sums),
        (lambda: (w * 3).sum(), 3),
        (lambda: w[0].sum(), [[1, 1], [0, 0]]),  # a slice's
        (lambda: tg.embedding(w, [1, 1]).sum(), [[0, 0], [2, 2]]),
        (lambda: tg.mlp(x, w, w, activation="relu_squared").sum(), None),  # one leaf twice
        (lambda: tg.linear(w, w).sum(), 2 * np.array([[4.0, 6.0], [4.0, 6.0]])),
    ]
    for loss, expected in losses:
        if expected is None:
            (g,) = tg.grad(loss(), w)
            expected = g.numpy()
        for again, _ in (*losses, (loss, None)):
            w.grad = None
            place.numpy()[...] = np.nan
            loss().backward()
            assert w.grad is place
            np.testing.assert_array_equal(w.grad.numpy(), np.broadcast_to(expected, (2, 2)))
            again().backward()
            assert w.grad is place
            (g,) = tg.grad(again(), w)
            np.testing.assert_allclose(w.grad.numpy(), expected + g.numpy(), rtol=1e-14)


def test_hooks_and_recorded_gradients_have_their_say_before_a_place() -> None:
    w = tg.tensor(np.array([[1.0, 2.0]]), requires_grad=True)
    place = tg.tensor(np.array([[7.0, 7.0]]))
    tg.tape.place_gradient(w, place)
    tg.square(tg.linear(np.ones((3, 2)), w)).sum().backward(create_graph=True)
    assert w.grad is not None
    assert w.grad.requires_grad
    assert place.tolist() == [[7.0, 7.0]]
    w.grad = None
    w.register_hook(lambda g: g * 2)
    tg.linear(np.ones((3, 2)), w).sum().backward()
    assert w.grad is place
    assert place.tolist() == [[6.0, 6.0]]


def test_a_place_is_of_a_leaf_and_like_it() -> None:
    w = tg.ones(3, requires_grad=True)
    with pytest.raises(tg.ShapeError):
        tg.tape.place_gradient(w, tg.ones(2))
    with pytest.raises(tg.GraphError):
        tg.tape.place_gradient(w * 2, tg.ones(3))
    with pytest.raises(tg.DTypeError):
        tg.tape.place_gradient(w, np.ones(3))  # type: ignore[arg-type]
    assert w.grad is None
