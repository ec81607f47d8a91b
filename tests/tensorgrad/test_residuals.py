"""What a node saves for backward: every way in which a vjp can hold an array."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.residuals import owners, residuals


def leaf(*shape: int) -> tg.Tensor:
    return tg.zeros(shape, requires_grad=True)


def kept(x: tg.Tensor) -> set[int]:
    assert x.node is not None
    return {id(a) for a in residuals(x.node)}


def test_what_ops_keep() -> None:
    x, y = leaf(2, 3), leaf(2, 3)
    assert kept(x) == set()
    assert kept(x + y) == set()
    assert kept(x * y) == {id(x.data), id(y.data)}
    assert kept(x * x) == {id(x.data)}
    assert kept(x.reshape(3, 2)) == set()
    out = tg.exp(x)
    assert kept(out) == {id(out.data)}
    logits = leaf(4, 5)
    targets = np.array([0, 1, 2, 3])
    assert {a.shape for a in residuals(tg.cross_entropy(logits, targets).node)} >= {(4, 5), (4,)}  # type: ignore[arg-type]


def test_joint_vjps_keep_what_they_capture() -> None:
    x, weight = leaf(4, 8), leaf(8)
    out = tg.rms_norm(x, weight)
    shapes = sorted(a.shape for a in residuals(out.node))  # type: ignore[arg-type]
    assert shapes == [(4, 1), (4, 8), (4, 8), (8,), (8,)]
    assert sum(a.nbytes for a in owners(residuals(out.node))) == 4 * (4 * 8 + 4 + 8)  # type: ignore[arg-type]


def test_a_node_that_was_run_back_keeps_nothing() -> None:
    x = leaf(3)
    out = (x * x).sum()
    middle = out.node.parents[0]  # type: ignore[union-attr]
    assert residuals(middle)
    out.backward()
    assert residuals(middle) == []


@dataclass(frozen=True)
class Layer:
    weight: tg.Tensor

    def scale(self, g: Any) -> Any:
        return g * self.weight


a = np.ones(2)


def nested() -> Any:
    def inner(g: Any) -> Any:
        return g * a_local

    a_local = a
    return lambda g: inner(g)


def recursive() -> Any:
    held = a

    def again(g: Any, depth: int = 0) -> Any:
        return again(g * held, depth + 1) if depth < 1 else g

    return again


def deleted() -> Any:
    held, gone = a, np.zeros(3)

    def vjp(g: Any) -> Any:
        return g * held if g is None else gone  # noqa: F821

    del gone
    return vjp


WAYS = {
    "closure": lambda: (lambda held: lambda g: g * held)(a),
    "nested function": nested,
    "default": lambda: lambda g, held=a: g * held,
    "keyword default": lambda: (lambda held: lambda g, *, kept=held: g * kept)(a),
    "partial": lambda: functools.partial(lambda held, g: g * held, a),
    "partial keyword": lambda: functools.partial(lambda g, held: g * held, held=a),
    "bound method": lambda: Layer(tg.asarray(a)).scale,
    "list in a dict": lambda: (lambda held: lambda g: g * held["x"][0])({"x": [a]}),
    "scatter": lambda: (lambda held: lambda g: g + held)(tg.Scatter((4,), slice(0, 2), a, repeats=False)),
    "recursion": recursive,
    "unbound name": deleted,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_hold_an_array(way: str) -> None:
    x = tg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    out = tg.record(x.data + 1, (x, WAYS[way]()))
    assert kept(out) == {id(a)}


def test_owners_counts_memory_once() -> None:
    base = np.zeros((4, 6))
    views = [base, base[1:], base.T.reshape(2, 3, 4)[0], np.broadcast_to(base, (5, 4, 6)), base[:, 2][::2]]
    assert {id(owner) for owner in owners(views)} == {id(base)} | {id(views[2].base)}
