"""What watchers are told: every op and every step, with what is inside what, and the program's line."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.tools.watch import Call, Watcher, arrays_in, site_of, watching


class Log(Watcher):
    """Writes down what begins and ends, indented by what it is inside of."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self.calls: list[Call] = []

    def begin(self, call: Call) -> None:
        self.lines.append("  " * self.depth + ("back " if call.is_backward else "") + call.name)
        self.depth += 1
        self.calls.append(call)

    def end(self, call: Call, result: Any) -> None:
        self.depth -= 1

    def cotangents(self, call: Call, result: Any) -> None:
        self.lines.append("  " * self.depth + "sent")


def log_of(f: Any) -> list[str]:
    with watching(log := Log()):
        f()
    assert log.depth == 0
    return log.lines


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(values, requires_grad=True)


def test_every_op_is_a_function_of_its_own() -> None:
    """Its code is what tells it from the others."""
    codes = {getattr(tg.ops, name).__code__ for name in tg.ops.__all__}
    assert len(codes) == len(tg.ops.__all__)


def test_ops_and_steps() -> None:
    x = leaf(1.0)
    assert log_of(lambda: tg.log(tg.negative(2 / x) + 3).backward()) == [
        "divide",
        "negative",
        "add",
        "log",
        "back log",
        "  divide",
        "  sent",
        "back add",
        "  sent",
        "back negative",
        "  negative",
        "  sent",
        "back divide",
        "  divide",
        "  divide",
        "  multiply",
        "  negative",
        "  sent",
    ]
    assert log_of(lambda: tg.matmul(x, x)) == PRODUCT


def test_sums_of_gradients() -> None:
    x = leaf(1.0)
    with watching(log := Log()):
        y = tg.exp(x)
        tg.add(y, y).backward()
    assert log.lines == ["exp", "add", "back add", "  sent", "  sent", "  back exp", "back exp", "  multiply", "  sent"]
    (call,) = [call for call in log.calls if call.is_sum]
    assert set(call.arguments) == {"x", "y"}
    assert call.site is not None
    assert call.site.op == "exp"


PRODUCT = ["matmul", "  reshape", "  reshape", "  matmul", "  reshape"]  # of two vectors, in this library's words


def test_arguments() -> None:
    x, y = leaf(1.0), np.ones(1, np.float32)
    with watching(log := Log()):
        tg.where(y > 0, x, 2.0)
        tg.einsum("i,i->i", x, y)
        tg.sum(x, axis=0)
    assert log.calls[0].arguments["x"] is x
    assert log.calls[0].arguments["y"] == 2.0
    assert log.calls[1].arguments == {"subscripts": "i,i->i", "xs": (x, y)}
    assert log.calls[-1].arguments == {"x": x}
    assert log.calls[-1].options.items() >= {"axis": 0, "keepdims": False}.items()


def double(x: tg.Tensor) -> tg.Tensor:
    return tg.record(x.numpy() * 2, (x, lambda g: tg.multiply(g, 2)))


def double_jointly(x: tg.Tensor) -> tg.Tensor:
    return tg.record_joint(x.numpy() * 2, [x], lambda g: [tg.multiply(g, 2)])


@pytest.mark.parametrize("f", [double, double_jointly])
def test_an_op_of_the_program(f: Any) -> None:
    x = leaf(1.0)
    with watching(log := Log()):
        line = sys._getframe().f_lineno + 1
        y = f(x)
        y.backward()
    assert log.lines == [f.__name__, f"back {f.__name__}", "  multiply", "  sent"]
    assert log.calls[0].arguments == {"0": x}
    site = site_of(y.node)  # type: ignore[arg-type]
    assert site is not None
    assert (site.op, site.line) == (f.__name__, line)


def test_sites() -> None:
    x = leaf(1.0, 2.0)
    with watching(Log()):
        line = sys._getframe().f_lineno + 1
        y = tg.matmul(x, x)
    assert y.node is not None
    for node in (y.node, y.node.parents[0], y.node.parents[0].parents[0]):
        site = site_of(node)
        assert site is not None
        assert (site.op, site.line) == ("matmul", line)
        assert Path(site.file) == Path(__file__)
    assert site_of((x + x).node) is None  # type: ignore[arg-type]


def test_a_gradient_of_a_gradient_belongs_to_the_op_that_was_called() -> None:
    x = leaf(1.0, 2.0)
    with watching(Log()):
        y = tg.exp(x).sum()
        line = sys._getframe().f_lineno - 1
        (g,) = tg.grad(y, x, create_graph=True)
    site = site_of(g.node)  # type: ignore[arg-type]
    assert site is not None
    assert (site.op, site.line) == ("exp", line)


def test_recompute_calls_the_program_again() -> None:
    x = leaf(1.0)

    def f(x: tg.Tensor) -> tg.Tensor:
        return tg.exp(x)

    with watching(log := Log()):
        line = sys._getframe().f_lineno + 1
        y = tg.recompute(f)(x)
        y.backward()
    assert log.lines == ["exp", "back recompute", "  exp", "  back exp", "    multiply", "    sent", "  sent"]
    site = site_of(y.node)  # type: ignore[arg-type]
    assert site is not None
    assert (site.op, site.line) == ("recompute", line)
    again = log.calls[2].site
    assert again is not None
    assert (again.op, again.line) == ("exp", f.__code__.co_firstlineno + 1)


def test_watchers_are_nested() -> None:
    x = leaf(1.0)
    with watching(outer := Log()):
        _ = x + 1
        with watching(inner := Log()):
            _ = x * 2
        _ = x - 1
    assert outer.lines == ["add", "multiply", "subtract"]
    assert inner.lines == ["multiply"]
    assert sys.getprofile() is None


def test_errors_of_ops_end_their_calls() -> None:
    x = leaf(1.0, 2.0)

    def f() -> None:
        with pytest.raises(tg.ShapeError):
            tg.matmul(x, tg.ones((3,)))
        _ = x + 1

    assert log_of(f) == ["matmul", "add"]


def test_errors_of_a_watcher_end_the_calls_that_it_was_in() -> None:
    class Raises(Watcher):
        def begin(self, call: Call) -> None:
            if call.name == "reshape":
                raise ZeroDivisionError

    x = leaf(1.0, 2.0)

    def f() -> None:
        with pytest.raises(ZeroDivisionError), watching(Raises()):
            tg.matmul(x, x)
        _ = x + 1

    assert log_of(f) == [*PRODUCT[:2], "add"]


def test_a_vjp_that_is_an_op_or_a_partial() -> None:
    x = leaf(1.0)
    assert log_of(lambda: (-x).backward()) == ["negative", "back negative", "  negative", "  sent"]
    twice = tg.record(x.numpy() * 2, (x, functools.partial(tg.multiply, 2)))
    assert log_of(twice.backward) == ["back multiply", "  multiply", "  sent"]


def test_arrays_in_containers() -> None:
    x = leaf(1.0)
    found = list(arrays_in([[x, (2.0, x.numpy())], 3, "text", None, np.float32, np.float64(1)]))
    assert [place for place, _ in found] == ["[0]", "[1][0]", "[1][1]", ""]
