"""The graph as data and text: the right nodes, bytes counted once, sources where they are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tensorgrad as tg


def leaf(*shape: int) -> tg.Tensor:
    return tg.ones(shape, requires_grad=True)


def test_nodes_and_parents() -> None:
    x, y = leaf(2, 3), leaf(3)
    g = tg.graph((x * y + x).sum())
    assert [node.op for node in g.nodes] == ["leaf", "leaf", "multiply", "add", "sum"]
    assert [node.parents for node in g.nodes] == [(), (), (0, 1), (2, 0), (3,)]
    assert [node.shape for node in g.nodes] == [(2, 3), (3,), (2, 3), (2, 3), ()]
    assert [node.value_bytes for node in g.nodes] == [24, 12, 24, 24, 4]
    assert {node.dtype for node in g.nodes} == {"float32"}


def test_memory_is_counted_once() -> None:
    x = leaf(10, 10)
    y = tg.exp(x)
    g = tg.graph([y * y, tg.log(y), y.reshape(100)[:50] * 2.0, tg.square(y[:, :5])])
    kept = {node.op: node.kept_bytes for node in g.nodes}
    assert kept["exp"] == 400
    assert g.kept_bytes == 400
    assert g.by_op()["exp"] == (1, 400)
    assert next(iter(g.by_op())) == "exp"


def test_a_small_view_keeps_its_whole_owner() -> None:
    x = leaf(10, 10)
    assert tg.graph(tg.square((x + 1)[0])).kept_bytes == 400


def test_sources() -> None:
    x = leaf(3)
    assert {node.source for node in tg.graph(tg.std(x)).nodes} == {""}
    with tg.find_non_finite():
        line = sys._getframe().f_lineno + 1
        y = tg.matmul(x, x)
    g = tg.graph(y)
    assert [node.title for node in g.nodes[:2]] == ["leaf", "matmul: reshape"]
    assert {node.source.rpartition(":")[2] for node in g.nodes[1:]} == {str(line)}
    assert g.nodes[1].source.rpartition(":")[0].endswith("test_nodes.py")
    assert set(g.by_op()) == {"leaf", "matmul"}


def test_the_text() -> None:
    x = leaf(2, 3)
    text = str(tg.graph((x * x).sum()))
    assert text == (
        "   op        value           from  source  keeps\n"
        "0  leaf      float32 (2, 3)\n"
        "1  multiply  float32 (2, 3)  0 0            24 B\n"
        "2  sum       float32 ()      1\n"
        "\n"
        "op        nodes  keeps\n"
        "multiply      1   24 B\n"
        "leaf          1    0 B\n"
        "sum           1    0 B\n"
        "all           3   24 B"
    )


def test_after_backward() -> None:
    x = leaf(3)
    y = tg.exp(x).sum()
    assert tg.graph(y).kept_bytes == 12
    y.backward()
    assert [node.op for node in tg.graph(y).nodes] == ["freed"]


def test_deep_graphs() -> None:
    x = leaf(1)
    for _ in range(20_000):
        x = x + 1
    assert len(tg.graph(x).nodes) == 20_001


@pytest.mark.parametrize("x", [tg.ones((2,)), [leaf(1), tg.ones((2,))], [], np.ones(3), [1.0]])
def test_nothing_recorded(x: object) -> None:
    with pytest.raises(tg.GraphError, match="graph: expected tensors that need a gradient"):
        tg.graph(x)  # type: ignore[arg-type]
