"""What a vjp may take and return: sparse cotangents, requests for some of them, buffers to write to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg


def variable(*values: float) -> tg.Tensor:
    return tg.tensor(np.array(values), requires_grad=True)


# --- Scatter -----------------------------------------------------------------------------------


def test_slices_and_look_ups_add_into_a_given_buffer() -> None:
    """Sparse cotangents, alone, repeated, and beside dense ones, in every order of arrival."""
    rng = np.random.default_rng(0)
    ids = np.array([3, 0, 3, 3])
    uses = [
        lambda w: tg.embedding(w, ids) * 2.0,
        lambda w: w[1:3],
        lambda w: w[::-2, None],
        lambda w: w * w,
        lambda w: w[ids, [0, 1, 0, 0]],
        lambda w: w[w.data > 0] * 3.0,
        lambda w: w[2],
        lambda w: tg.take(w, [1, 1], axis=1),
    ]
    for trial in range(12):
        order = rng.permutation(len(uses))[: rng.integers(1, len(uses) + 1)]
        values = rng.normal(size=(4, 2))
        flat = np.full(12, 0.5)
        w = tg.tensor(values, requires_grad=True)
        w.grad = tg.asarray(flat[2:10].reshape(4, 2))
        hidden = w if trial % 2 else w * 1.0  # into a leaf, and into a node
        total = tg.concat([tg.square(uses[i](hidden)).reshape(-1) for i in order]).sum()
        total.backward()
        expected = np.zeros((4, 2))
        for i in order:
            expected += tg.grad(tg.square(uses[i](w)).sum(), w)[0].numpy()
        np.testing.assert_allclose(flat[2:10].reshape(4, 2), expected + 0.5, rtol=1e-12)
        np.testing.assert_array_equal(flat[[0, 1, 10, 11]], 0.5)


def test_many_slices_of_one_value_cost_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers, writes = [], []
    dense, add_to = tg.Scatter.dense, tg.Scatter.add_to
    monkeypatch.setattr(tg.Scatter, "dense", lambda self: buffers.append(1) or dense(self))
    monkeypatch.setattr(tg.Scatter, "add_to", lambda *args: writes.append(1) or add_to(*args))
    x = tg.tensor(np.ones((50, 4)), requires_grad=True)
    h = x * 2.0
    tg.concat([h[i] * float(i) for i in range(50)]).sum().backward()
    assert len(buffers) == 1
    assert len(writes) == 49  # the first makes the buffer
    np.testing.assert_array_equal(x.grad.numpy(), np.repeat(2.0 * np.arange(50.0)[:, None], 4, axis=1))


def test_scatter_is_dense_zeros_but_for_its_values() -> None:
    scatter = tg.Scatter((3, 2), np.array([1, 1]), np.array([[1.0, 2.0], [10.0, 20.0]]), repeats=True)
    np.testing.assert_array_equal(scatter.dense(), [[0, 0], [11, 22], [0, 0]])
    buffer = np.ones((3, 2))
    tg.Scatter((3, 2), (slice(None), 0), np.array([1.0, 2.0, 3.0]), repeats=False).add_to(buffer)
    np.testing.assert_array_equal(buffer, [[2, 1], [3, 1], [4, 1]])


# --- joint vjps --------------------------------------------------------------------------------


def test_a_joint_op_may_give_a_scalar_of_numpy() -> None:
    x, y = variable(2.0), variable(3.0)
    out = tg.record_joint(np.float64(6.0), [x, y], lambda g: (tg.reshape(g * 3.0, (1,)), tg.reshape(g * 2.0, (1,))))
    assert type(out.data) is np.ndarray
    np.testing.assert_array_equal([g.numpy() for g in tg.grad(out, [x, y])], [[3.0], [2.0]])


def test_a_joint_op_may_add_to_the_gradients_that_leaves_have() -> None:
    seen: list[list[Any]] = []

    def product(x: Any, y: Any) -> Any:
        def vjp(g: Any, wanted: list[Any]) -> list[Any]:
            buffers = [asked and asked.buffer for asked in wanted]
            seen.append(buffers)
            results: list[Any] = [tg.multiply(g, y), None, tg.multiply(g, x)]
            for position, buffer in enumerate(buffers):
                if buffer is not None and position:
                    buffer += results[position]
                    results[position] = None
            return results

        return tg.record_joint(x.array * y.array, [x, 2.0, y], vjp, selects=True)

    x, y = variable(1.0, 2.0), variable(3.0, 4.0)
    product(x, y).sum().backward()
    assert seen[-1] == [None, None, None]  # neither has one yet
    assert x.grad is not None
    assert y.grad is not None
    held = y.grad.array
    product(x, y).sum().backward()
    assert seen[-1][2] is held
    assert seen[-1][0] is x.grad.array  # which the op leaves to the tape
    assert seen[-1][1] is None
    np.testing.assert_array_equal([x.grad.numpy(), y.grad.numpy()], [[6.0, 8.0], [2.0, 4.0]])
    product(x, x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [8.0, 12.0])
    # No buffer is offered when the gradient is returned, differentiated, or seen by a hook first.
    for gradient in (tg.grad(product(x, y).sum(), y)[0], tg.grad(product(x, y).sum(), y, create_graph=True)[0]):
        assert seen[-1] == [None, None, None]
        np.testing.assert_array_equal(gradient.numpy(), [1.0, 2.0])
    looked: list[Any] = []
    remove = y.register_hook(lambda g: looked.append(g.numpy()))
    product(x, y * 1.0).sum().backward()
    product(x, y).sum().backward()
    remove()
    assert [buffer is None for buffer in seen[-1]] == [False, True, True]
    np.testing.assert_array_equal(looked, [[1.0, 2.0]] * 2)
    np.testing.assert_array_equal(y.grad.numpy(), [4.0, 8.0])


def test_an_observed_backward_shows_every_cotangent_and_overwrites_nothing() -> None:
    seen: list[tuple[bool, bool]] = []

    def doubled(x: tg.Tensor) -> tg.Tensor:
        def vjp(g: Any, requests: list[Any]) -> list[Any]:
            seen.append((requests[0].buffer is not None, tg.tape.is_last_backward()))
            return [tg.multiply(g, 2.0)]

        return tg.record_joint(x.array * 2.0, [x], vjp, selects=True)

    x = variable(1.0, 2.0)
    x.grad = tg.tensor([0.0, 0.0], dtype="float64")
    before = doubled(x).sum()
    with tg.tape.observed():
        before.backward()  # also what was recorded unobserved
        recorded = doubled(x).sum()
        with tg.tape.observed():
            pass
        doubled(x).sum().backward()
    recorded.backward()
    assert seen == [(False, False), (False, False), (True, True)]
    assert x.grad.tolist() == [6.0, 6.0]
    with pytest.raises(ZeroDivisionError), tg.tape.observed():
        raise ZeroDivisionError
    assert not tg.tape.is_observed()


def test_a_joint_op_that_adds_where_there_is_nothing_to_add_to_is_told() -> None:
    x = variable(1.0)
    out = tg.record_joint(x.numpy() * 1, [x], lambda g, wanted: [None], selects=True)
    with pytest.raises(tg.DTypeError, match="Tensor or an array, got None"):
        out.sum().backward()


def test_a_joint_op_is_told_which_cotangents_are_wanted() -> None:
    seen: list[list[bool]] = []

    def third(*xs: Any) -> Any:
        def vjp(g: Any, wanted: list[Any]) -> list[Any]:
            seen.append([asked is not None for asked in wanted])
            return [g * (i + 1) if asked else None for i, asked in enumerate(wanted)]

        return tg.record_joint(tg.tape.data(xs[0]) * 1, xs, vjp, selects=True)

    x, y, c = variable(1.0), variable(2.0), tg.tensor([3.0])
    h = y * 5.0
    everything = [True, False, True, True]
    third(x, c, h, h).sum().backward()
    assert seen.pop() == everything
    for create_graph in (False, True):
        for names, flags in (("x", [1, 0, 0, 0]), ("y", [0, 0, 1, 1]), ("xy", [1, 0, 1, 1]), ("h", [0, 0, 1, 1])):
            h = y * 5.0
            wanted = [{"x": x, "y": y, "h": h}[name] for name in names]
            found = tg.grad(third(x, c, h, h).sum(), wanted, create_graph=create_graph)
            assert seen.pop() == [bool(flag) for flag in flags]
            assert [g.item() for g in found] == [{"x": 1.0, "y": 35.0, "h": 7.0}[name] for name in names]
    assert not seen


def test_a_joint_op_in_a_vjp_gives_its_value() -> None:
    x = variable(1.0, 2.0, 3.0)
    out = tg.record(x.array * 1.0, (x, lambda g: tg.concat([g[:1], g[1:] * 2.0])))
    for create_graph in (False, True):
        (g,) = tg.grad(out, x, np.array([1.0, 1.0, 5.0]), create_graph=create_graph, keep_graph=True)
        np.testing.assert_array_equal(g.numpy(), [1.0, 2.0, 10.0])
