"""Writes into arrays that a pending gradient needs raise, naming the op; all others pass."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import writes
from tensorgrad.writes import Watch

VALUES = np.array([0.5, 1.5, 2.5])


def variable() -> tg.Tensor:
    return tg.tensor(VALUES, requires_grad=True)


def write_all(x: tg.Tensor) -> None:
    x.data[...] = 7.0


def write_one(x: tg.Tensor) -> None:
    x.data[1] += 1e-9


def subtract_in_place(x: tg.Tensor) -> None:
    x.data -= 0.1


def write_through_numpy(x: tg.Tensor) -> None:
    np.add(x.numpy(), 1, out=x.numpy())


WRITES: list[Callable[[tg.Tensor], None]] = [write_all, write_one, subtract_in_place, write_through_numpy]

# The computation, the tensor among (x, h = exp(x), y) that is written to, and the op that needed it.
FALSIFIED: list[tuple[str, Callable[..., tg.Tensor], str, str]] = [
    ("product with a leaf", lambda x, h, y: x * y, "x", "multiply"),
    ("product with a result", lambda x, h, y: h * y, "h", "multiply"),
    ("an op's own output", lambda x, h, y: h.sum(), "h", "exp"),
    ("a view", lambda x, h, y: tg.square(x[1:]), "x", "square"),
    ("the base of a view", lambda x, h, y: tg.square(tg.reshape(x, (3, 1))), "x", "square"),
    ("a fused op", lambda x, h, y: tg.gelu(x), "x", "gelu"),
    ("a joint op", lambda x, h, y: tg.layer_norm(x, y), "y", "layer_norm"),
    ("a matrix", lambda x, h, y: tg.linear(h, tg.reshape(y, (1, 3))), "y", "linear"),
]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("name", "compute", "written", "op"), FALSIFIED, ids=[row[0] for row in FALSIFIED])
@pytest.mark.parametrize("order", [1, 2])
def test_a_write_that_falsifies_a_gradient_raises(
    name: str, compute: Callable[..., tg.Tensor], written: str, op: str, write: Callable[[tg.Tensor], None], order: int
) -> None:
    x, y = variable(), variable()
    h = tg.exp(x)
    out = compute(x, h, y).sum()
    write({"x": x, "h": h, "y": y}[written])
    with pytest.raises(tg.GraphError, match=f"backward: expected the values that {op} .*written.*index_update"):
        out.backward(create_graph=order == 2)
    assert x.grad is None
    assert y.grad is None


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_falsifies_nothing_is_let_pass(write: Callable[[tg.Tensor], None]) -> None:
    x, y = variable(), variable()
    out = (x + y).sum()  # saves neither
    write(x)
    out.backward()
    assert x.grad is not None
    write(x)  # no backward is pending any more
    (x * y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 + VALUES)
    assert y.grad is not None
    np.testing.assert_allclose(y.grad.numpy(), 1 + x.numpy())


def test_other_values_falsify_what_looks_them_up_again() -> None:
    x, y = variable(), variable()
    out = (x * y).sum()
    x.data = VALUES * 2
    with pytest.raises(tg.GraphError, match="values that multiply"):
        out.backward()
    h = tg.exp(x)
    h.data = VALUES  # exp saved the array itself
    (g,) = tg.grad(h.sum(), x)
    np.testing.assert_allclose(g.numpy(), np.exp(VALUES * 2))


def test_reading_is_not_writing() -> None:
    x = variable()
    out = (x * x).sum()
    assert x.data.sum() == VALUES.sum()
    assert x.numpy().max() == 2.5
    out.backward()


def test_writes_into_constants() -> None:
    x, c = variable(), tg.tensor(VALUES)
    out = (x * c).sum()
    c[0] = 9.0
    with pytest.raises(tg.GraphError, match="values that multiply"):
        out.backward()
    (x * c).sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), c.numpy())


def write_through_dlpack(x: tg.Tensor) -> None:
    if not isinstance(x.array, np.ndarray):
        return
    memory = np.from_dlpack(x)
    assert np.shares_memory(memory, x.array)
    address = memory.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
    address[0] = 7.0  # as a library does that ignores the read-only flag


def copy_by_numpy(x: tg.Tensor) -> None:
    np.copyto(x, 7.0)


def write_as_array(x: tg.Tensor) -> None:
    np.asarray(x)[0] = 7.0


CONSTANTS: list[tuple[str, Callable[[tg.Tensor], tg.Tensor]]] = [
    ("itself", lambda c: c),
    ("its view", lambda c: c[1:]),
    ("what it is a view of", lambda c: tg.reshape(c, (3, 1))[:, 0]),
    ("the detached", lambda c: c.detach()),
]


@pytest.mark.parametrize("write", [*WRITES, write_through_dlpack, copy_by_numpy, write_as_array])
@pytest.mark.parametrize(("name", "used"), CONSTANTS, ids=[row[0] for row in CONSTANTS])
def test_writes_through_what_a_constant_hands_out(
    name: str, used: Callable[[tg.Tensor], tg.Tensor], write: Callable[[tg.Tensor], None]
) -> None:
    for make_joint in (False, True):
        x, c = variable(), tg.tensor(VALUES)
        k = used(c)
        out = tg.layer_norm(x[: len(k)], k).sum() if make_joint else (x[: len(k)] * k).sum()
        write(used(c))
        with pytest.raises(tg.GraphError, match=r"values that (multiply|layer_norm)"):
            out.backward()
        assert x.grad is None


def test_writes_through_what_a_detached_leaf_hands_out() -> None:
    x = variable()
    out = tg.square(x).sum()
    x.detach().numpy()[0] = 7.0
    with pytest.raises(tg.GraphError, match="values that square"):
        out.backward()
    y = variable()
    out = (x * y.detach()).sum()
    y.data[0] = 7.0  # nothing was computed from y itself
    with pytest.raises(tg.GraphError, match="values that multiply"):
        out.backward()


def test_other_values_of_a_constant_falsify_what_looks_them_up_again() -> None:
    x, c = variable(), tg.tensor(VALUES)
    c.data = VALUES + 1
    out = (x * c).sum()
    c.data = VALUES * 2
    with pytest.raises(tg.GraphError, match="values that multiply"):
        out.backward()


def test_a_backward_adds_to_no_gradient_that_another_graph_needs() -> None:
    x, weight, z = variable(), tg.tensor(np.ones((2, 3)), requires_grad=True), variable()

    def loss() -> tg.Tensor:
        return tg.linear(x, weight).sum()

    for leaf in (x, weight):  # the weight's gradient is added by the product itself
        loss().backward()
        assert leaf.grad is not None
        pending = (z * leaf.grad).sum()
        loss().backward()
        with pytest.raises(tg.GraphError, match="values that multiply"):
            pending.backward()
    assert z.grad is None


def test_a_constant_that_nothing_recorded_has_is_handed_out_freely() -> None:
    held, c = len(writes._exposures), tg.tensor(VALUES)
    with tg.no_grad():
        (variable() * c).sum()
    tg.exp(c)
    assert c.numpy() is c.array
    assert len(writes._exposures) == held


def test_only_graphs_older_than_the_write_are_refused() -> None:
    x = variable()
    before = (x * x).sum()
    x.data[0] = 3.0
    after = (x * x).sum()
    after.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), 2 * x.numpy())
    with pytest.raises(tg.GraphError, match="multiply"):
        before.backward()


def test_a_training_loop_may_write_between_steps_and_read_within_them() -> None:
    w = variable()
    for _ in range(40):
        loss = tg.square(w * w).sum()
        assert np.isfinite(w.data).all()  # handed out while a graph is pending
        loss.backward()
        assert w.grad is not None
        w.data -= 0.01 * w.grad.data
        w.grad = None
    assert abs(w.numpy()).max() < 1.0


def test_a_second_gradient_needs_the_first_values() -> None:
    x = variable()
    (g,) = tg.grad((x**3).sum(), x, create_graph=True)
    x.data -= 0.1 * g.data
    with pytest.raises(tg.GraphError, match="written"):
        tg.grad(g.sum(), x)


def test_what_was_handed_out_is_forgotten_with_its_array() -> None:
    held = len(writes._exposures)
    for _ in range(50):
        x = variable()
        out = (x * x).sum()
        x.data[0] = 1.0
        del out, x
    assert len(writes._exposures) == held


def test_many_writes_to_one_array_are_bounded() -> None:
    x = variable()
    old = (x * x).sum()
    pending: list[Any] = []
    for i in range(100):
        x.data[0] = float(i)
        pending.append((x * x).sum())
    pending[-1].backward()
    with pytest.raises(tg.GraphError, match="multiply"):
        pending[-3].backward()
    with pytest.raises(tg.GraphError, match="multiply"):
        old.backward()


def test_a_write_is_noticed_where_there_is_no_data() -> None:
    with tg.abstract():
        x, c = tg.ones((3,), requires_grad=True), tg.ones((3,))
        out = (x * c).sum()
        c[0] = 9.0
        with pytest.raises(tg.GraphError, match="values that multiply"):
            out.backward()


def buffer_and_watch() -> tuple[np.ndarray, tg.Tensor, Watch]:
    """Memory, a Tensor in the middle of it, and a Watch on the Tensor."""
    buffer = np.zeros(12)
    watch = Watch(buffer)
    x = tg.tensor(np.zeros((2, 3)), requires_grad=True)
    x.data = buffer[3:9].reshape(2, 3)
    watch.settle()
    assert not watch.may_have_changed()
    return buffer, x, watch


def test_a_write_by_a_tensor_is_seen_once() -> None:
    buffer, x, watch = buffer_and_watch()
    x.detach()[0, 1] = 5.0
    assert buffer[4] == 5
    assert watch.may_have_changed()
    assert not watch.may_have_changed()
    x.detach()[1:, ::-1][0, 0] = 6.0
    watch.settle()
    assert not watch.may_have_changed()


@pytest.mark.parametrize("hand_out", [lambda x: x.data, lambda x: x.numpy(), lambda x: x.detach()[::-1].data])
def test_what_was_handed_out_may_change_at_any_time(hand_out: Callable[[tg.Tensor], Any]) -> None:
    _, x, watch = buffer_and_watch()
    held = hand_out(x)
    for _ in range(2):
        assert watch.may_have_changed()
    watch.settle()
    held[...] = 3.0
    assert watch.may_have_changed()


def test_only_what_lies_in_the_buffer_counts() -> None:
    buffer, x, watch = buffer_and_watch()
    other = tg.tensor(np.zeros(4))
    other[1] = 2.0
    other.data[0] = 1.0
    tg.Tensor(buffer[12:]).data.sum()  # nothing, at its end
    assert not watch.may_have_changed()
    _, _ = x.shape, x.tolist()
    assert not watch.may_have_changed()
