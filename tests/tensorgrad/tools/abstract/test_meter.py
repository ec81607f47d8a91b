"""Bytes and operations are entered for the op that causes them."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.tools.abstract.array import AbstractArray


def test_by_op() -> None:
    with tg.abstract() as meter:
        x = tg.ones((10, 10), requires_grad=True)
        meter.reset_peak()
        y = tg.mean(tg.exp(x) * x)
        z = AbstractArray((5,), np.float64)
        del z
        y.backward()
    cost = meter.by_op()
    assert cost["exp"].forward_flops == cost["multiply"].forward_flops == 100
    assert cost["exp"].backward_flops == 100
    assert cost["multiply"].backward_flops == 200
    assert cost["mean"].forward_flops == 101  # and what it is made of is not entered by itself
    assert "sum" not in cost or cost["sum"].forward_flops == 0
    assert cost["gradients"].backward_flops == 100  # two paths lead to x
    assert cost["other"].allocated_bytes == 400 + 40
    assert cost["exp"].allocated_bytes == 800
    assert meter.flops == meter.forward_flops + meter.backward_flops
    # At the peak: x, exp(x), and of backward its last gradients.
    assert sum(one.peak_bytes for one in cost.values()) == meter.peak_bytes
    assert cost["other"].live_bytes == 400
    assert cost["gradients"].live_bytes == 400
    assert meter.live_bytes == 804  # and y


def test_a_second_order() -> None:
    with tg.abstract() as meter:
        x = tg.ones((10,), requires_grad=True)
        (g,) = tg.grad(tg.sin(x).sum(), x, create_graph=True)
        tg.grad(g.sum(), x)
    cost = meter.by_op()
    assert cost["sin"].forward_flops == 10
    assert cost["sin"].backward_flops >= 20
    assert cost["cos"].backward_flops > 0


def test_recomputation_is_forward_work() -> None:
    def work(f: object) -> dict[str, tuple[int, int]]:
        with tg.abstract() as meter:
            x = tg.ones((10,), requires_grad=True)
            f(x).sum().backward()  # type: ignore[operator]
        return {name: (one.forward_flops, one.backward_flops) for name, one in meter.by_op().items()}

    def program(x: tg.Tensor) -> tg.Tensor:
        return tg.exp(x)

    assert work(program)["exp"] == (10, 10)
    assert work(tg.recompute(program))["exp"] == (20, 10)


def test_the_table() -> None:
    with tg.abstract() as meter:
        x = tg.ones((256, 256), requires_grad=True)
        (x @ x).sum().backward()
    text = str(meter)
    assert text.splitlines()[0].split() == [
        "op",
        "forward",
        "FLOPs",
        "backward",
        "FLOPs",
        "allocated",
        "at",
        "the",
        "peak",
    ]
    assert text.splitlines()[1].split() == ["matmul", "33.6", "M", "67.1", "M", "768", "KiB", "512", "KiB"]
    assert text.splitlines()[-1].startswith("all")


def test_meters_do_not_mix() -> None:
    with tg.abstract() as outer:
        x = tg.ones((10,))
        with tg.abstract() as inner:
            y = x + 1
        z = x * 2
        assert inner.live_bytes == 40
        assert outer.live_bytes == 80
        del y, z
    assert (inner.live_bytes, outer.live_bytes) == (0, 40)
    del x
    assert outer.live_bytes == 0
    assert type(tg.ones((2,)).numpy()) is np.ndarray


def test_everything_that_makes_tensors() -> None:
    with tg.abstract():
        key = tg.Key(0)
        made = [
            tg.tensor([1.0]),
            tg.asarray(np.ones(3)),
            tg.zeros(3),
            tg.ones(3),
            tg.full((2,), 3),
            tg.empty((2,)),
            tg.arange(3),
            tg.linspace(0, 1, 5),
            tg.eye(3),
            tg.zeros_like(np.ones(2)),
            tg.asarray(key.uniform((2, 3))),
            tg.asarray(key.normal((2, 3))),
            tg.asarray(key.integers(0, 5, (2,))),
            tg.asarray(key.permutation(5)),
        ]
        assert all(type(x.array) is AbstractArray for x in made)
        with pytest.raises(tg.NoValueError, match="item: expected an array with values"):
            made[0].item()
        with pytest.raises(tg.NoValueError, match="numpy: expected an array with values"):
            made[0].numpy()
        assert key.fold_in(1) == tg.Key(0).fold_in(1)
        assert repr(made[0]) == "Tensor(..., shape=(1,), dtype=float32)"


def test_an_error_leaves_nothing_behind() -> None:
    with pytest.raises(tg.ShapeError), tg.abstract():
        tg.ones((2,)) + tg.ones((3,))
    assert type(tg.ones((2,)).array) is np.ndarray
