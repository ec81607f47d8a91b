"""Trigonometric and hyperbolic functions at the ends of their domains, at the origin and far out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tests.tensorgrad.ops.slopes import slopes

inf, nan = math.inf, math.nan


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (tg.asin, [1.0], [inf]),
        (tg.asin, [-1.0], [inf]),
        (tg.asin, [2.0], [nan]),
        (tg.acos, [1.0], [-inf]),
        (tg.acos, [-1.0], [-inf]),
        (tg.acosh, [1.0], [inf]),
        (tg.acosh, [-2.0], [nan]),
        (tg.acosh, [1e200], [1e-200]),
        (tg.atanh, [1.0], [inf]),
        (tg.atanh, [-1.0], [inf]),
        (tg.asinh, [0.0], [1.0]),
        (tg.asinh, [-1e200], [1e-200]),
        (tg.asinh, [inf], [0.0]),
        (tg.atan, [-inf], [0.0]),
        (tg.atan, [1e200], [0.0]),
        (tg.atan, [1e150], [1e-300]),
        (tg.tanh, [500.0], [0.0]),
        (tg.tan, [0.0], [1.0]),
        (tg.sinh, [inf], [inf]),
        (tg.atan2, [0.0, 0.0], [0.0, 0.0]),
        (tg.atan2, [1.0, 0.0], [0.0, -1.0]),
        (tg.atan2, [0.0, -2.0], [-0.5, 0.0]),
        (tg.atan2, [3e200, 4e200], [4 / 25e200, -3 / 25e200]),
        (tg.atan2, [3e-200, 4e-200], [4 / 25e-200, -3 / 25e-200]),
        (tg.hypot, [0.0, 0.0], [nan, nan]),
        (tg.hypot, [3e200, -4e200], [0.6, -0.8]),
        (tg.hypot, [0.0, 2.0], [0.0, 1.0]),
    ],
)
def test_conventions(f: Any, at: list[float], expected: Any, create_graph: bool) -> None:
    np.testing.assert_allclose(slopes(f, *at, create_graph=create_graph), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_out_nothing_overflows_on_the_way(dtype: str) -> None:
    """Warnings are errors: the derivatives are small numbers, not the remains of an inf."""
    x = tg.tensor(np.array([1e30, 1e38], dtype), requires_grad=True)
    for f in (tg.asinh, tg.acosh, lambda t: tg.atan2(t, 2 * t), lambda t: tg.hypot(t, t), tg.atan, tg.tanh, tg.erf):
        for create_graph in (False, True):
            (dx,) = tg.grad(f(x).sum(), x, create_graph=create_graph)
            assert np.isfinite(dx.numpy()).all()
    for f in (tg.asinh, tg.acosh):
        (dx,) = tg.grad(f(x).sum(), x)
        np.testing.assert_allclose(dx.numpy(), [1e-30, 1e-38], rtol=1e-6)


def test_second_derivatives_at_the_origin() -> None:
    x, y = (tg.tensor(np.float64(v), requires_grad=True) for v in (0.0, 2.0))
    dx, dy = tg.grad(tg.atan2(x, y), (x, y), create_graph=True)
    assert [g.item() for g in tg.grad(dx + dy, (x, y))] == [-0.25, -0.25]
