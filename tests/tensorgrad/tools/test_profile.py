"""The times add up, belong to the right op, and the trace opens."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from gpt.config import ModelConfig
from gpt.model import GPT


def slow(x: tg.Tensor, forward: float, backward: float) -> tg.Tensor:
    """The program's own op, of a known duration."""
    time.sleep(forward)

    def vjp(g: Any) -> Any:
        time.sleep(backward)
        return tg.multiply(g, 2)

    return tg.record(x.numpy() * 2, (x, vjp))


def milliseconds(ns: int) -> float:
    return ns / 1e6


def test_calls_and_times() -> None:
    x = tg.full((300, 300), 1e-3, requires_grad=True)
    with tg.profile() as times:
        y = tg.exp(x @ x)
        for _ in range(3):
            y = y * y
        (tg.matmul(y[0], y[1]) + y.sum()).backward()
    by_op = times.by_op()
    assert by_op["matmul"].calls >= 3  # of two matrices, and of two vectors, by way of two matrices
    assert by_op["multiply"].calls >= 3
    assert by_op["exp"].calls == 1
    for name in ("matmul", "multiply", "exp"):
        assert by_op[name].forward_ns > 0
        assert by_op[name].backward_ns > 0
    in_ops = sum(one.self_ns for one in by_op.values())
    on_behalf = sum(one.forward_ns + one.backward_ns for one in by_op.values())
    assert in_ops == on_behalf
    assert in_ops <= times.total_ns
    assert by_op["matmul"].forward_ns >= by_op["matmul"].self_ns - by_op["matmul"].backward_ns


def test_time_of_an_op_of_the_program() -> None:
    x = tg.ones((2,), requires_grad=True)
    with tg.profile() as times:
        time.sleep(0.05)
        y = slow(x, 0.0, 0.03)
        y.sum().backward()
    one = times.by_op()["slow"]
    assert one.calls == 1
    assert 29 < milliseconds(one.backward_ns) < 60
    assert "multiply" not in times.by_op() or times.by_op()["multiply"].backward_ns == 0
    assert 79 < milliseconds(times.total_ns) < 200


def test_measuring_is_not_measured() -> None:
    """A thousand small ops: reporting a call takes longer than the call itself."""
    y = x = tg.ones((2,), requires_grad=True)
    with tg.profile() as times:
        began = time.perf_counter_ns()
        for _ in range(1000):
            y = y * x
        wall = time.perf_counter_ns() - began
    assert times.by_op()["multiply"].forward_ns < times.total_ns < 0.8 * wall


def test_bytes() -> None:
    x, y = tg.ones((10, 10), requires_grad=True), tg.ones((10,))
    with tg.profile() as times:
        z = (x * y).reshape(100)[:50].sum()
        tg.split(x, 2, axis=0)
    by_op = times.by_op()
    assert by_op["multiply"].moved_bytes == 400 + 40 + 400
    assert by_op["reshape"].moved_bytes == by_op["getitem"].moved_bytes == by_op["split"].moved_bytes == 0
    assert by_op["sum"].moved_bytes == 200 + 4
    with tg.profile() as times:
        tg.exp(x).sum().backward()
        z.backward()
    assert times.by_op()["exp"].moved_bytes == 800 + 3 * 400  # forward; backward of the gradient and the result


def test_work_is_what_abstract_counts() -> None:
    config = ModelConfig(num_layers=2, num_heads=2, model_dim=32, context_length=16, vocab_size=64)
    ids = np.arange(32).reshape(2, 16) % 64
    with tg.profile() as times:
        GPT.init(config, tg.Key(0)).loss(ids, ids).backward()
    with tg.abstract() as meter:
        GPT.init(config, tg.Key(0)).loss(ids, ids).backward()
    expected, found = meter.by_op(), times.by_op()
    for name in ("linear_cross_entropy", "self_attention", "rms_norm", "mlp", "add"):
        assert found[name].forward_flops == expected[name].forward_flops, name
        assert found[name].backward_flops == expected[name].backward_flops, name
    with tg.no_grad(), tg.profile() as times:
        GPT.init(config, tg.Key(0)).loss(ids, ids)
    assert all(one.backward_flops == one.backward_ns == 0 for one in times.by_op().values())
    assert times.by_op()["linear"].forward_flops == expected["linear"].forward_flops


def test_work_that_depends_on_values_is_not_counted() -> None:
    x = tg.tensor([1.0, -1.0, 2.0])
    with tg.profile() as times:
        tg.nonzero(x)
        tg.einsum("i,i->", x, x)
        tg.concat([x, x])
    assert times.by_op()["nonzero"].flops == 0
    assert times.by_op()["einsum"].flops > 0
    assert times.by_op()["concat"].flops == 0


def test_recomputed_calls_belong_to_themselves() -> None:
    x = tg.ones((50, 50), requires_grad=True)

    def f(x: tg.Tensor) -> tg.Tensor:
        return tg.exp(x) @ x

    with tg.profile() as times:
        tg.recompute(f)(x).sum().backward()
    by_op = times.by_op()
    assert by_op["exp"].calls == 2
    assert by_op["exp"].forward_flops == 2500
    assert by_op["exp"].backward_flops == 2 * 2500
    assert by_op["recompute"].backward_ns > 0
    assert sum(one.self_ns for one in by_op.values()) == sum(one.forward_ns + one.backward_ns for one in by_op.values())


def test_the_table() -> None:
    x = tg.ones((2,), requires_grad=True)
    with tg.profile() as times:
        (x * x).sum().backward()
    lines = str(times).splitlines()
    assert lines[0].split("  ")[0] == "op"
    assert {line.split()[0] for line in lines[1:-2]} == set(times.by_op())
    assert lines[-2].startswith("no op")
    assert lines[-1].startswith("all")


def test_the_trace(tmp_path: Path) -> None:
    x = tg.ones((2, 3), requires_grad=True)
    with tg.profile() as times:
        line = sys._getframe().f_lineno + 1
        y = tg.sqrt(x)
        y.sum().backward()
    times.chrome_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    events = trace["traceEvents"]
    names = [(event["name"], event["cat"]) for event in events]
    assert ("sqrt", "forward") in names
    assert ("sqrt", "backward") in names
    assert ("divide", "forward") in names
    for event in events:
        assert event["ph"] == "X"
        assert event["dur"] >= 0
        assert event["pid"] == os.getpid()
    forward = events[names.index(("sqrt", "forward"))]
    assert forward["args"] == {"x": "float32 (2, 3)", "called at": f"{__file__}:{line}"}
    backward = events[names.index(("sqrt", "backward"))]
    assert backward["args"]["called at"] == f"{__file__}:{line}"
    inside = [event for event in events if event["name"] == "divide"]
    for event in inside:
        assert backward["ts"] <= event["ts"]
        assert event["ts"] + event["dur"] <= backward["ts"] + backward["dur"] + 1e-3


def test_with_another_tool() -> None:
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    with tg.profile() as times:
        with np.errstate(divide="ignore"), pytest.raises(tg.NonFiniteError), tg.find_non_finite():
            tg.log(x)
        tg.exp(x)
    assert times.by_op()["log"].calls == times.by_op()["exp"].calls == 1
    assert sys.getprofile() is None


def test_results_are_the_same() -> None:
    x = tg.tensor(np.random.default_rng(0).normal(size=(5, 5)), requires_grad=True)

    def run() -> np.ndarray:
        return tg.grad(tg.softmax(tg.tanh(x @ x)).var(), x)[0].numpy()

    with tg.profile():
        profiled = run()
    assert np.array_equal(profiled, run())
